"""The network of a MADDPG agent: what it does, without chance, and how far from that it tries."""

from __future__ import annotations

import torch
from torch import Tensor

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

    def explore(self, outputs: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """Actions with normal noise, clipped to their bounds; choices are drawn (Gumbel 1954)."""
        if self.log_std is None:
            return self.distribution(outputs).sample(generator=generator)
        actions = outputs.chunk(2, dim=-1)[0].tanh()
        tried = (actions + self.noise * torch.randn(actions.shape, generator=generator)).clamp(-1.0, 1.0)
        return tried if mask is None else tried * mask
