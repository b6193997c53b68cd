"""The network of a QMIX agent: what each of its choices is worth to the team."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.exploration import Tried
from algorithms.networks.distributions import MASKED_LOGIT, Branches, distribution_class
from algorithms.networks.policy_module import PolicyModule


class UtilityModule(PolicyModule):
    """Utilities in the place of logits: what is likeliest is what is worth most, here, in bundles and in the service.

    Attributes:
        epsilon: Share of choices made at random; part of the network, so that runners and checkpoints have it.
    """

    epsilon: Tensor

    def setup(self) -> None:
        """Builds the layers."""
        super().setup()
        self.register_buffer("epsilon", torch.ones(()))

    def tried(self, raw: Tensor, mask: Tensor | None) -> Tried:
        """What is worth most, or, with probability `epsilon`, any that is allowed, branch by branch.

        Args:
            raw: Utilities `[N, sum(nvec)]`.
            mask: What is allowed; utilities know it already.
        """
        distribution = distribution_class(self.action_space)
        worth = distribution(raw)
        assert isinstance(worth, Branches)
        table = worth.table
        allowed = table > MASKED_LOGIT / 2
        best = nn.functional.one_hot(table.argmax(dim=-1), table.shape[-1])
        chances = self.epsilon * allowed / allowed.sum(dim=-1, keepdim=True).clamp_min(1) + (1 - self.epsilon) * best
        logits = chances.log().clamp_min(MASKED_LOGIT)
        return distribution(torch.cat([logits[:, branch, :size] for branch, size in enumerate(worth.nvec)], dim=-1))
