"""Policies whose continuous actions are squashed into their bounds by a hyperbolic tangent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from algorithms.networks.distributions import ActionDistribution, distribution_class
from algorithms.networks.policy_module import PolicyModule

SMALLEST_SLOPE = 1e-6


class SquashedModule(PolicyModule):
    """Actions `tanh(u)` with `u` normal (Haarnoja et al. 2018, appendix C); choices are as in any other policy.

    What bundles and the service get reads like any Gaussian's: the mode `tanh(mean)`, and a deviation that is that of
    `u` times the tangent's slope there, which is right to first order. Learning and sampling use `u` itself.
    """

    def forward_policy(self, batch: Mapping[str, Any]) -> Tensor:
        """Inputs of an action distribution over actions, not over `u`."""
        raw = self.forward_raw(batch)
        if self.log_std is None:
            return raw
        mean, log_std = raw.chunk(2, dim=-1)
        bounded = mean.tanh()
        slope = (1 - bounded.square()).clamp_min(SMALLEST_SLOPE)
        return torch.cat([bounded, log_std + slope.log()], dim=-1)

    def distribution(self, raw: Tensor) -> ActionDistribution:
        """Of `u`, or of choices, from what `forward_raw` put out."""
        return distribution_class(self.action_space)(raw)

    def explore(self, outputs: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draws actions `[N, K]` from the policy; 0 where a dimension is masked."""
        drawn = self.distribution(outputs).sample(generator=generator)
        if self.log_std is None:
            return drawn
        drawn = drawn.tanh()
        return drawn if mask is None else drawn * mask


def squash(before: Tensor, log_density: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Actions `tanh(u)` `[N, K]` and the logarithm of their density `[N]`.

    `log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u))`, which loses no digits where the tangent is flat.

    Args:
        before: `u`, `[N, K]`.
        log_density: Logarithm of the density of each dimension of `u`, `[N, K]`.
        mask: True where a dimension is in use; the others are 0 and do not count.
    """
    log_slope = 2 * (math.log(2) - before - softplus(-2 * before))
    each, actions = log_density - log_slope, before.tanh()
    if mask is not None:
        each, actions = each * mask, actions * mask
    return actions, each.sum(dim=-1)
