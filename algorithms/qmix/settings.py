"""QMIX's settings; defaults are in `rllib_configs/base_qmix.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from algorithms.off_policy.settings import Count, OffPolicySettings, Positive, Share

Mixing = Literal["qmix", "vdn", "none"]


class QMIXSettings(OffPolicySettings):
    """Monotonic value factorisation (Rashid et al. 2018, arXiv:1803.11485)."""

    mixing: Mixing = Field(
        description="How utilities become the team's value: `qmix`, monotonically, by weights that the state decides; "
        "`vdn`, their sum; `none`: each agent learns its own value of its own rewards."
    )
    mixing_width: Count = Field(description="Width of the mixer's hidden layer.")
    hypernet_width: Count = Field(description="Width of the layer that makes its weights from the state.")
    double: bool = Field(description="Whether what follows is chosen by the network and valued by its target.")
    error_clip: Positive | None = Field(
        description="Error beyond which the loss grows in a straight line (Huber 1964; Mnih et al. 2015): what is far "
        "off pulls no harder than what is a little off; null: none."
    )
    sequence: Count = Field(
        description="Transitions that networks with memory learn from in a row; `batch` counts all of them."
    )
    burn_in: int = Field(
        ge=0, description="Steps that such a network sees before them, to come to know what it would have known."
    )
    epsilon: tuple[Share, Share] = Field(description="Share of choices made at random, at first and in the end.")
    epsilon_steps: Count = Field(description="Steps, of all worlds together, over which that share falls.")
