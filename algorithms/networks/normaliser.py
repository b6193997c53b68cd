"""Running statistics of what a network sees, as part of the network.

They are buffers: synced with the weights, saved with the checkpoint, exported with the graph. They change only when
told to, once an iteration and after the epochs; a change between sampling and the loss would corrupt PPO's ratio.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from envs.layout import ObservationLayout

SMALLEST_VARIANCE = 1e-12
"""A feature that varies less keeps its scale: divided by next to nothing it would explode at its first change."""


class Moments(NamedTuple):
    """Number of values, mean and sum of squared deviations of some features, float64 `[W]` each."""

    size: Tensor
    mean: Tensor
    m2: Tensor


def merge_moments(first: Moments, second: Moments) -> Moments:
    """The moments of two samples taken together.

    Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    size = first.size + second.size
    weight = second.size / size.clamp_min(1)
    delta = second.mean - first.mean
    return Moments(size, first.mean + delta * weight, first.m2 + second.m2 + delta**2 * first.size * weight)


class Normaliser(nn.Module):
    """`clip((x - mean) / deviation)`, by statistics that are shared between the inputs that mean the same.

    At first, and for a feature that has not varied yet, it only clips. A feature that has been zero ever since the
    start does not count (it is padding, so far): its statistics begin with its first value.

    Args:
        feature_of: Which feature each of the `D` inputs is, int64 `[D]`; -1: passed through as it is.
        num_features: Features `W`.
        clip: Bound of what comes out.

    Attributes:
        count, mean, m2: Moments of the features, float64 `[W]`.
        shift, scale: What is applied to the inputs, float32 `[D]`; follows from the moments.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor
    shift: Tensor
    scale: Tensor
    feature_of: Tensor

    def __init__(self, feature_of: Tensor, num_features: int, clip: float) -> None:
        super().__init__()
        for name in ("count", "mean", "m2"):
            self.register_buffer(name, torch.zeros(num_features, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(len(feature_of)))
        self.register_buffer("scale", torch.ones(len(feature_of)))
        self.register_buffer("feature_of", feature_of, persistent=False)
        self.clip = clip

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalises `[N, D]`; changes nothing in the module."""
        return ((inputs - self.shift) * self.scale).clamp(-self.clip, self.clip)

    def moments(self) -> Moments:
        """The moments so far; nothing in them is shared with the module."""
        return Moments(self.count.clone(), self.mean.clone(), self.m2.clone())

    @torch.no_grad()
    def merge(self, sample: Moments) -> None:
        """Takes the moments of a sample into the statistics."""
        sample = Moments(*(part.to(self.count) for part in sample))
        padding = (self.count == 0) & (sample.mean == 0) & (sample.m2 == 0)
        sample = sample._replace(size=torch.where(padding, 0.0, sample.size))
        for buffer, value in zip((self.count, self.mean, self.m2), merge_moments(self.moments(), sample), strict=True):
            buffer.copy_(value)
        variance = self.m2 / self.count.clamp_min(1)
        scale = torch.where(variance > SMALLEST_VARIANCE, variance.clamp_min(SMALLEST_VARIANCE).rsqrt(), 1.0)
        normalised = self.feature_of >= 0
        index = self.feature_of.clamp_min(0)
        if len(self.mean):
            self.shift.copy_(torch.where(normalised, self.mean[index], 0.0))
            self.scale.copy_(torch.where(normalised, scale[index], 1.0))


class ObservationNormaliser(Normaliser):
    """Statistics of each own feature, and of each entity *feature* over all entities of its table that exist.

    So what is learned of two assets holds for the other thirteen when they appear, and padding never counts.

    Args:
        layout: What lies where in an observation.
        clip: Bound of what comes out.
    """

    def __init__(self, layout: ObservationLayout, clip: float = 10.0) -> None:
        first = len(layout.own)
        parts = [torch.arange(first)]
        for table, _, _ in layout.places:
            features, entities = len(table.features), len(table.entities)
            parts += [first + torch.arange(features).repeat(entities), torch.full((entities,), -1)]
            first += features
        super().__init__(torch.cat(parts), first, clip)
        self.layout = layout

    @torch.no_grad()
    def sample_moments(self, observations: Tensor) -> Moments:
        """Moments of observations `[N, D]` of living agents; those of several samples can be merged.

        Args:
            observations: Float32 `[N, D]`.

        Returns:
            Moments of the own features, then of the features of each table's entities, `[O + F + …]`.
        """
        observed = observations.to(torch.float64)
        own = observed[:, self.layout.own_slice]
        parts = [_moments(own, torch.ones_like(own[:, :1]))]
        for table, values, exists in self.layout.places:
            rows = observed[:, values].reshape(len(observed) * len(table.entities), len(table.features))
            parts.append(_moments(rows, observed[:, exists].reshape(-1, 1)))
        return Moments(*(torch.cat(each) for each in zip(*parts, strict=True)))


class StateNormaliser(Normaliser):
    """Statistics of each dimension of the global state, for a central critic.

    Args:
        size: Width `S` of the state.
        clip: Bound of what comes out.
    """

    def __init__(self, size: int, clip: float = 10.0) -> None:
        super().__init__(torch.arange(size), size, clip)

    @torch.no_grad()
    def sample_moments(self, states: Tensor) -> Moments:
        """Moments `[S]` of states `[N, S]`."""
        observed = states.to(torch.float64)
        return _moments(observed, torch.ones_like(observed[:, :1]))


def _moments(rows: Tensor, weights: Tensor) -> Moments:
    """Moments of the columns of `rows` `[N, W]`, with a weight of 0 or 1 a row, `[N, 1]`."""
    count = weights.sum()
    mean = (rows * weights).sum(dim=0) / count.clamp_min(1)
    m2 = ((rows - mean) ** 2 * weights).sum(dim=0)
    return Moments(count.expand_as(mean).clone(), mean, m2)
