"""SAC's settings; defaults are in `rllib_configs/base_sac.yaml`."""

from __future__ import annotations

from pydantic import Field

from algorithms.off_policy.settings import NonNegative, OffPolicySettings, Positive, Share


class SACSettings(OffPolicySettings):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905; for choices Christodoulou 2019, arXiv:1910.07207)."""

    temperature: Positive = Field(description="What entropy is worth at first [scaled reward a nat].")
    learn_temperature: bool = Field(description="Whether that is learned, so that entropy comes to its target.")
    target_entropy: float = Field(
        allow_inf_nan=False,
        description="That target of continuous actions [nats a dimension]: below log 2 = 0.69, which is all at random.",
    )
    target_share: Share = Field(
        description="That target of choices, as a share of the most there could be, the logarithm of what is allowed."
    )
    least_temperature: NonNegative = Field(description="Below which it never falls [scaled reward a nat].")
