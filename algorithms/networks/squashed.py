"""Policies whose continuous actions are squashed into their bounds by a hyperbolic tangent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from algorithms.exploration import Tried, Within
from algorithms.networks.distributions import ActionDistribution, distribution_class
from algorithms.networks.policy_module import PolicyModule


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
        return torch.cat([mean.tanh(), log_std + log_slope(mean)], dim=-1)

    def distribution(self, raw: Tensor) -> ActionDistribution:
        """Of `u`, or of choices, from what `forward_raw` put out."""
        return distribution_class(self.action_space)(raw)

    def tried(self, raw: Tensor, mask: Tensor | None) -> Tried:
        """The policy's own actions, or choices; 0 where a dimension is masked."""
        distribution = self.distribution(raw)
        return distribution if self.log_std is None else Within(distribution, torch.tanh, mask)


def squash(before: Tensor, log_density: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Actions `tanh(u)` `[N, K]` and the logarithm of their density `[N]`.

    Args:
        before: `u`, `[N, K]`.
        log_density: Logarithm of the density of each dimension of `u`, `[N, K]`.
        mask: True where a dimension is in use; the others are 0 and do not count.
    """
    each, actions = log_density - log_slope(before), before.tanh()
    if mask is not None:
        each, actions = each * mask, actions * mask
    return actions, each.sum(dim=-1)


def log_slope(before: Tensor) -> Tensor:
    """Logarithm of the slope of `tanh(u)`, `log(1 - tanh(u)^2)`.

    As `2 (log 2 - |u| - softplus(-2 |u|))` it loses no digits where the tangent is flat.
    """
    size = before.abs()
    return 2 * (math.log(2) - size - softplus(-2 * size))
