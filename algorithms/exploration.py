"""How what is tried while worlds are sampled departs from what the policy thinks best."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from algorithms.networks.distributions import ActionDistribution


class Exploration(Protocol):
    """Chooses what is tried; an algorithm's config makes it (`BatchedConfig.exploration`)."""

    def __call__(self, distribution: ActionDistribution, step: int, generator: torch.Generator) -> Tensor:
        """Actions of one module in one step.

        Args:
            distribution: What the network put out, of a row an agent, world by world.
            step: Step of the rollout: noise that is correlated over time begins anew at 0.
            generator: Source of all randomness, keyed by seed, runner and rollout: it has no state to lose.

        Returns:
            Actions `[N, K]`; continuous ones may be out of bounds, the env sees them clipped.
        """


def sampled(distribution: ActionDistribution, step: int, generator: torch.Generator) -> Tensor:
    """What the policy itself draws: exploration is its entropy."""
    return distribution.sample(generator=generator)
