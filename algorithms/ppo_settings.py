"""PPO's settings as a section of an experiment's configuration; their defaults are in `rllib_configs/base_ppo.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from algorithms.lagrangian import MultiplierSettings

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class PPOSettings(BaseModel):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), within limits if there are any."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    lr: Positive = Field(description="Learning rate of Adam.")
    gamma: Share = Field(description="Discount of the next step's value.")
    gae_lambda: Share = Field(description="Lambda of generalised advantage estimation: 0 one step, 1 the whole return.")
    clip: Positive = Field(description="How far a probability ratio may move from 1 before its gradient is cut.")
    value_clip: Positive | None = Field(
        description="Bound of a value's squared error [squared reward]; null: none. Too low and the critic stops "
        "learning."
    )
    value_weight: NonNegative = Field(description="Weight of the critic's loss.")
    entropy_weight: NonNegative = Field(description="Weight of the policy's entropy: higher explores more.")
    noise_correlation: Share = Field(
        description="Correlation of the noise in what is tried in one step with that in the next; 0: none. It begins "
        "anew with each rollout. What is "
        "tried in each step by itself is distributed as the policy says."
    )
    deviation: tuple[Positive, Positive] | None = Field(
        description="Largest deviation of continuous actions, at first and in the end; null: what is learned, always."
    )
    deviation_steps: Count = Field(description="Steps, of all worlds together, over which that falls.")
    kl_weight: NonNegative = Field(description="First weight of the penalty on the policy's change; 0: no penalty.")
    kl_target: Positive = Field(
        description="Change of the policy an update that the penalty's weight adapts to [nats]."
    )
    epochs: Count = Field(description="Passes over each rollout.")
    minibatch: Count = Field(description="Agent-steps in a gradient step.")
    sequence: Count | None = Field(
        description="Steps of the sequences that networks with memory learn from, and so how far back gradients reach; "
        "it must divide runners.rollout_length; null: all of that. Others learn from single steps."
    )
    grad_clip: Positive | None = Field(description="Largest norm of a gradient; null: any.")
    limits: dict[str, Positive] = Field(
        description="By name of a cost that the env counts, the most that its figure `cost_NAME` may be, mean over "
        "episodes: a sum over an episode's steps, mean over the agents that took part; {}: no limits."
    )
    multiplier: MultiplierSettings = Field(description="What a cost above its limit is worth, and how that is found.")
