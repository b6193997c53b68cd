"""Settings of learning by slopes as a section; their defaults are in `rllib_configs/base_pathwise.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PathwiseSettings(BaseModel):
    """Pathwise policy gradients through a differentiable env (Heess et al. 2015, arXiv:1510.09142)."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    lr: Positive = Field(description="Learning rate of Adam.")
    half: Positive | None = Field(
        description="Rollouts after which steps are half as long, after twice as many a third, and so on; null: never."
    )
    epochs: Count = Field(description="Passes over each rollout.")
    minibatch: Count = Field(description="Agent-steps in a gradient step.")
    grad_clip: Positive | None = Field(description="Largest norm of a gradient; null: any.")
    slope_clip: Positive | None = Field(
        description="Largest slope [root mean squares of a rollout's]: a few moments of need outweigh all others; "
        "null: any."
    )
