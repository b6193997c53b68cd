"""The network of a MADDPG agent: what it does, without chance, and how far from that it tries."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from algorithms.exploration import Tried, Within
from algorithms.networks.distributions import DiagonalGaussian
from algorithms.networks.squashed import SquashedModule


class DeterministicModule(SquashedModule):
    """Actions `tanh(u(o))`, or choices.

    Attributes:
        noise: Deviation of what is tried; part of the network, so that runners and checkpoints have it.
    """

    noise: Tensor

    def setup(self) -> None:
        """Builds the layers."""
        super().setup()
        self.register_buffer("noise", torch.ones(()))

    def tried(self, raw: Tensor, mask: Tensor | None) -> Tried:
        """Actions with normal noise, clipped to their bounds; choices are drawn."""
        if self.log_std is None:
            return self.distribution(raw)
        actions = raw.chunk(2, dim=-1)[0].tanh()
        noisy = DiagonalGaussian(torch.cat([actions, self.noise.log().expand_as(actions)], dim=-1))
        return Within(noisy, partial(torch.clamp, min=-1.0, max=1.0), mask)
