"""The network of a QMIX agent: what each of its choices is worth to the team."""

from __future__ import annotations

import torch
from torch import Tensor

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

    def explore(self, outputs: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """What is worth most, or, with probability `epsilon`, any that is allowed, branch by branch.

        Args:
            outputs: Utilities `[N, sum(nvec)]`.
            mask: What is allowed; utilities know it already.
            generator: Source of all randomness.

        Returns:
            Choices `[N, K]`.
        """
        distribution = distribution_class(self.action_space)
        worth = distribution(outputs)
        assert isinstance(worth, Branches)
        alike = distribution(outputs.masked_fill(outputs > MASKED_LOGIT / 2, 0.0))
        best = worth.mode()
        random = torch.rand(best.shape, generator=generator) < self.epsilon
        return torch.where(random, alike.sample(generator=generator), best)
