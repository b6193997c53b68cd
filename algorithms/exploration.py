"""How what is tried while worlds are sampled departs from what the policy thinks best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from algorithms.networks.distributions import ActionDistribution


class Tried(Protocol):
    """What a policy would try: a distribution over its actions, of a row an agent, world by world."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise that `from_noise` takes, `[N, K]` or `[N, K, largest branch]`."""

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws actions `[N, K]`."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """Actions `[N, K]` of standard normal noise: they are distributed as what `sample` draws."""


class Exploration(Protocol):
    """Chooses what is tried; an algorithm's config makes it (`BatchedConfig.exploration`)."""

    def __call__(self, tried: Tried, step: int, generator: torch.Generator) -> Tensor:
        """Actions of one module in one step.

        Args:
            tried: What the policy would try.
            step: Step of the rollout: noise that is correlated over time begins anew at 0.
            generator: Source of all randomness, keyed by seed, runner and rollout: it has no state to lose.

        Returns:
            Actions `[N, K]`; continuous ones may be out of bounds, the env sees them clipped.
        """


def sampled(tried: Tried, step: int, generator: torch.Generator) -> Tensor:
    """What the policy itself draws: exploration is its entropy."""
    return tried.sample(generator=generator)


class Correlated:
    """Noise that goes on from step to step, as Ornstein and Uhlenbeck's does.

    In each step by itself actions are distributed as the policy says, so that likelihoods, and ratios of them, are
    right; from one step to the next the noise is `z' = c z + sqrt(1 - c^2) e` (Hollenstein et al. 2024 on-policy,
    arXiv:2312.11091; Lillicrap et al. 2016 off-policy, arXiv:1509.02971). White noise in orders or positions is paid
    for in every step and comes to nothing on average; what goes on for a while is seen to lead somewhere.

    Args:
        correlation: `c`, 0 to 1, of the noise in one step with that of the next.
    """

    def __init__(self, correlation: float) -> None:
        self.correlation = correlation
        self._noise = torch.zeros(0)

    def __call__(self, tried: Tried, step: int, generator: torch.Generator) -> Tensor:
        """Actions of one module in one step."""
        fresh = torch.randn(tried.noise_shape, generator=generator)
        kept = self.correlation if step else 0.0
        self._noise = kept * self._noise + math.sqrt(1 - kept * kept) * fresh if kept else fresh
        return tried.from_noise(self._noise)


def exploring(correlation: float) -> Exploration:
    """The policy's own draws, or such as are correlated over time."""
    return Correlated(correlation) if correlation else sampled


@dataclass(frozen=True)
class Within:
    """What is tried within bounds: actions of another distribution, brought there, and 0 where they are masked.

    Attributes:
        inner: The distribution.
        bounded: Brings its actions into bounds.
        mask: True where a dimension is in use; None: everywhere.
    """

    inner: ActionDistribution
    bounded: Callable[[Tensor], Tensor]
    mask: Tensor | None

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The distribution's."""
        return self.inner.noise_shape

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws actions `[N, K]`."""
        return self._masked(self.inner.sample(generator=generator))

    def from_noise(self, noise: Tensor) -> Tensor:
        """Actions `[N, K]` of standard normal noise."""
        return self._masked(self.inner.from_noise(noise))

    def _masked(self, actions: Tensor) -> Tensor:
        actions = self.bounded(actions)
        return actions if self.mask is None else actions * self.mask


def falling(ends: Any, over: int, steps: float) -> float:
    """Where a figure is after so many steps that goes from the first of two to the second, in a straight line.

    Args:
        ends: What it is at first, and in the end.
        over: Steps over which it changes.
        steps: Steps so far.
    """
    first, last = ends
    return float(first + (last - first) * min(1.0, steps / over))
