"""Settings that all learners from the past share; each has its own defaults, in `rllib_configs/base_ALGORITHM.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class OffPolicySettings(BaseModel):
    """Replay, and how often and how far is learned from it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    lr: Positive = Field(description="Learning rate of Adam.")
    gamma: Share = Field(description="Discount of the next step's value.")
    grad_clip: Positive | None = Field(description="Largest norm of a gradient; null: any.")
    replay_frames: Count = Field(description="Steps that the replay keeps of all worlds together, at most.")
    replay_memory: Positive = Field(description="Memory that it takes, at most [GiB].")
    learn_from: Count = Field(description="Steps, of all worlds together, before the first update.")
    steps_per_update: Positive = Field(description="Steps, of all worlds together, between two updates.")
    batch: Count = Field(description="Transitions of whole worlds in an update.")
    n_step: Count = Field(description="Steps of a transition: rewards that are counted before the critic is asked.")
    target_rate: Share = Field(
        description="How far targets follow in an update (Polyak averaging); 0: see target_period."
    )
    target_period: Count = Field(description="Updates between two full copies to targets where that rate is 0.")
    priority: Share = Field(
        description="How much more often transitions are drawn the more wrong their values were (exponent of "
        "prioritised replay); 0: all as often."
    )
    priority_correction: Share = Field(description="How much of that they make up for by what they count; 1: all.")
    noise_correlation: Share = Field(
        description="Correlation of the noise in what is tried in one step with that in the next; 0: none. It begins "
        "anew with each rollout."
    )
    standardise: bool = Field(
        description="Whether rewards are divided by their root mean square, and values counted from what the mean "
        "reward comes to for ever; what is best stays the same."
    )
