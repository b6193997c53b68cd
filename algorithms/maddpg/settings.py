"""MADDPG's settings; defaults are in `rllib_configs/base_maddpg.yaml`."""

from __future__ import annotations

from pydantic import Field

from algorithms.off_policy.settings import Count, NonNegative, OffPolicySettings, Positive


class MADDPGSettings(OffPolicySettings):
    """Multi-agent deterministic policy gradients (Lowe et al. 2017, arXiv:1706.02275)."""

    noise: tuple[NonNegative, NonNegative] = Field(
        description="Deviation of what is tried from continuous actions, at first and in the end [half of their range]."
    )
    noise_steps: Count = Field(description="Steps, of all worlds together, over which that falls.")
    softmax_temperature: Positive = Field(description="Of the relaxed choices that gradients flow through.")
    critic_sizes: tuple[Count, ...] = Field(min_length=1, description="Widths of the critics' layers.")
    output_penalty: NonNegative = Field(
        description="Weight of the squared outputs of the policy in its loss: they stay where the tangent has a slope."
    )
