"""The head that puts out values, in the units of the returns that it has to foresee.

A critic's error grows with the square of the rewards' scale, and where it shares the policy's trunk, its gradient
drowns the policy's: of rewards that are large, or of agents that leave at times nobody can foresee, the policy then
unlearns what it knew. So the layer learns standardised values, whatever the scale, and what it puts out is scaled back.
When the scale moves, the layer is moved the other way, and every value stays what it was: "Preserving Outputs
Precisely, while Adaptively Rescaling Targets" (van Hasselt et al. 2016, "Learning values across many orders of
magnitude", section 2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.networks.layers import linear

RATE = 0.1
"""Share of the newest returns in the statistics: they have halved what they knew after some seven updates."""
SMALLEST_DEVIATION = 1e-6
"""Least deviation, absolute and as a share of the mean: of what varies less, float32 keeps no digits."""


class ValueHead(nn.Module):
    """`shift + scale * layer(embeddings)`, with the mean and the deviation of the latest returns.

    Args:
        inputs: Width `H` of the embeddings.
        normalise: Whether there are such statistics; if not, it is a linear layer.

    Attributes:
        weight: What all updates so far weigh together in the averages, float64; 0 before the first.
        mean, square: Running averages of the returns and of their squares, not yet divided by `weight`, float64.
        shift, scale: What is applied, float32; follows from the averages.
    """

    weight: Tensor
    mean: Tensor
    square: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: int, *, normalise: bool = True) -> None:
        super().__init__()
        self.layer = linear(inputs, 1, 1.0)
        self.normalise = normalise
        for name in ("weight", "mean", "square"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64), persistent=normalise)
        self.register_buffer("shift", torch.zeros(()), persistent=normalise)
        self.register_buffer("scale", torch.ones(()), persistent=normalise)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Values `[N]`, in units of returns, from embeddings `[N, H]`; changes nothing in the module."""
        values: Tensor = self.layer(embeddings).squeeze(-1)
        return values * self.scale + self.shift if self.normalise else values

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Takes returns `[N]` into the statistics: once an iteration, before the epochs that learn from them.

        From the second time on all values stay what they were. At the first there is nothing worth keeping, and they
        begin around the mean.
        """
        if not self.normalise or not len(returns):
            return
        first = not self.weight
        observed = returns.to(torch.float64)
        self.weight.lerp_(torch.ones_like(self.weight), RATE)
        self.mean.lerp_(observed.mean(), RATE)
        self.square.lerp_(observed.square().mean(), RATE)
        mean = self.mean / self.weight
        variance = (self.square / self.weight - mean.square()).clamp_min(0.0)
        scale = variance.sqrt().clamp_min(SMALLEST_DEVIATION * mean.abs().clamp_min(1.0))
        if not first:
            self.layer.weight.mul_(self.scale / scale)
            self.layer.bias.mul_(self.scale).add_(self.shift - mean).div_(scale)
        self.shift.copy_(mean)
        self.scale.copy_(scale)
