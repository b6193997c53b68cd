"""Distributions over actions, in torch, whole batches and all branches at once.

Continuous: a diagonal Gaussian, given as `mean | log_std`, `[N, 2K]`. Its samples and likelihoods are unclipped; the
env sees them clipped to [-1, 1]. A masked dimension has mean 0 and log_std 0 always, so that it cancels in likelihood
ratios and divergences. Discrete: independent branches, given as logits side by side, `[N, sum(nvec)]`, where a masked
choice has a large negative, finite logit: its probability is zero to the bit, and nothing turns into NaN.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from functools import cache, cached_property
from math import log, pi, tau
from typing import Any

import torch
from gymnasium.spaces import Box, MultiDiscrete
from ray.rllib.core.distribution.torch.torch_distribution import TorchDistribution
from torch import Tensor

MASKED_LOGIT = -1e9
ActionSpace = Box | MultiDiscrete


class ActionDistribution(TorchDistribution):
    """What all our distributions offer, to our code and to RLlib's.

    Args:
        logits: What the network put out, `[N, P]`.
    """

    def __init__(self, logits: Tensor) -> None:  # RLlib's own would build a torch.distributions object, which is slow
        self.logits = logits

    def _get_torch_distribution(self, *args: Any, **kwargs: Any) -> Any:
        """Never called: likelihoods are computed here."""
        raise AssertionError("the distribution is not one of torch's")

    @abstractmethod
    def sample(self, *, sample_shape: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """Draws actions, `[N, K]`."""

    @abstractmethod
    def rsample(self, *, sample_shape: Any = None) -> Tensor:
        """Draws actions that gradients flow through, `[N, K]`, where there is such a thing."""

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of what `from_noise` takes."""

    @abstractmethod
    def from_noise(self, noise: Tensor) -> Tensor:
        """Actions `[N, K]`, without gradients, of standard normal noise: they are distributed as samples are."""

    @abstractmethod
    def mode(self) -> Tensor:
        """The most likely actions, `[N, K]`."""

    @abstractmethod
    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Logarithm of the density, or probability, of actions `[N, K]`; `[N]`."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy [nats], `[N]`."""

    @abstractmethod
    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """Divergence of `other` from this one, `KL(self || other)`, `[N]`."""

    def to_deterministic(self) -> Deterministic:
        """The most likely actions, as a distribution."""
        return Deterministic(self.mode())


class Deterministic(ActionDistribution):
    """All mass on one action; likelihoods are probabilities."""

    def sample(self, *, sample_shape: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """The action."""
        return self.logits

    def rsample(self, *, sample_shape: Any = None) -> Tensor:
        """The action."""
        return self.logits

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """None is needed: the actions' own shape."""
        return tuple(self.logits.shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The action."""
        return self.logits

    def mode(self) -> Tensor:
        """The action."""
        return self.logits

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """0 where actions are the action, minus infinity elsewhere."""
        return torch.where((value == self.logits).all(-1), 0.0, -torch.inf)

    def entropy(self) -> Tensor:
        """None."""
        return torch.zeros(self.logits.shape[:-1], device=self.logits.device)

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """What is left of `KL(self || other)` where there is but one action: the other's surprise at it."""
        surprise: Tensor = -other.logp(self.logits)
        return surprise

    @staticmethod
    def required_input_dim(space: ActionSpace, **kwargs: Any) -> int:
        """Inputs: one an action."""
        return num_actions(space)


class DiagonalGaussian(ActionDistribution):
    """Independent normals, `mean | log_std`."""

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Mean and log_std, `[N, K]` each."""
        mean, log_std = self.logits.chunk(2, dim=-1)
        return mean, log_std

    def sample(self, *, sample_shape: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """Draws actions, `[*sample_shape, N, K]`, without gradients."""
        with torch.no_grad():
            return self._draw(sample_shape, generator)

    def rsample(self, *, sample_shape: Any = None) -> Tensor:
        """Draws actions that gradients flow through."""
        return self._draw(sample_shape, None)

    def _draw(self, sample_shape: Any, generator: torch.Generator | None) -> Tensor:
        mean, log_std = self.parts
        shape = (*(sample_shape or ()), *mean.shape)
        return mean + log_std.exp() * torch.randn(shape, generator=generator, device=mean.device)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """`[N, K]`."""
        return tuple(self.parts[0].shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The mean and so many deviations."""
        with torch.no_grad():
            mean, log_std = self.parts
            return mean + log_std.exp() * noise

    def mode(self) -> Tensor:
        """The mean."""
        return self.parts[0]

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Logarithm of the density at unclipped actions `[N, K]`."""
        mean, log_std = self.parts
        distance = (value - mean) * torch.exp(-log_std)
        return -0.5 * (distance * distance).sum(-1) - log_std.sum(-1) - 0.5 * log(tau) * mean.shape[-1]

    def entropy(self) -> Tensor:
        """Entropy [nats]; it may be negative."""
        _, log_std = self.parts
        return log_std.sum(-1) + 0.5 * (log(2 * pi) + 1) * log_std.shape[-1]

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """Divergence between two diagonal Gaussians, in closed form."""
        (mean, log_std), (other_mean, other_log_std) = self.parts, other.parts
        ratio = log_std - other_log_std
        distance = (mean - other_mean) * torch.exp(-other_log_std)
        return (0.5 * (torch.exp(2 * ratio) + distance * distance - 1) - ratio).sum(-1)

    @staticmethod
    def required_input_dim(space: ActionSpace, **kwargs: Any) -> int:
        """Inputs: a mean and a log_std an action."""
        return 2 * num_actions(space)


class Branches(ActionDistribution):
    """Independent categorical branches. Use a subclass from `distribution_class`, which knows the branches' sizes."""

    nvec: tuple[int, ...] = ()

    @cached_property
    def table(self) -> Tensor:
        """The logits branch by branch, `[N, K, largest branch]`; branches that are shorter are filled up."""
        widest = max(self.nvec)
        if min(self.nvec) == widest:
            return self.logits.unflatten(-1, (len(self.nvec), widest))
        fill = torch.full_like(self.logits[..., :1], MASKED_LOGIT)
        index = _padding_index(self.nvec).to(self.logits.device)
        return torch.cat([self.logits, fill], dim=-1)[..., index]

    @cached_property
    def log_probs(self) -> Tensor:
        """Logarithms of the probabilities, `[N, K, largest branch]`."""
        return self.table.log_softmax(dim=-1)

    def sample(self, *, sample_shape: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """Draws a choice a branch, int64 `[*sample_shape, N, K]`.

        The largest of `log p + Gumbel noise` is a draw from `p` (Gumbel 1954); a Gumbel is minus the logarithm of an
        exponential.
        """
        with torch.no_grad():
            log_probs = self.log_probs
            shape = (*(sample_shape or ()), *log_probs.shape)
            waits = torch.empty(shape, device=log_probs.device).exponential_(generator=generator)
            return (log_probs - waits.clamp_min(torch.finfo(waits.dtype).tiny).log()).argmax(dim=-1)

    def rsample(self, *, sample_shape: Any = None) -> Tensor:
        """Choices have no gradient.

        Raises:
            ValueError: Always.
        """
        raise ValueError("rsample: discrete actions have no gradient, allowed is sample")

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """`[N, K, largest branch]`."""
        return tuple(self.table.shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """A choice a branch: normals become Gumbels by way of their quantiles, `-log(-log(Phi(z)))`, which choose."""
        with torch.no_grad():
            gumbels = -(-torch.special.log_ndtr(noise)).clamp_min(torch.finfo(noise.dtype).tiny).log()
            return (self.log_probs + gumbels).argmax(dim=-1)

    def mode(self) -> Tensor:
        """The most likely choice a branch (the first, if tied), int64 `[N, K]`."""
        return self.table.argmax(dim=-1)

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Logarithm of the joint probability of choices `[N, K]`."""
        chosen = value.long().unsqueeze(-1)
        log_probs = self.log_probs.expand(*chosen.shape[:-1], -1)
        return log_probs.gather(-1, chosen).squeeze(-1).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy of all branches together [nats]."""
        log_probs = self.log_probs
        return -(log_probs.exp() * log_probs).sum((-2, -1))

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """Sum of the branches' divergences."""
        log_probs = self.log_probs
        return (log_probs.exp() * (log_probs - other.log_probs)).sum((-2, -1))

    @staticmethod
    def required_input_dim(space: ActionSpace, **kwargs: Any) -> int:
        """Inputs: a logit a choice."""
        assert isinstance(space, MultiDiscrete)
        return int(space.nvec.sum())


def distribution_class(space: ActionSpace) -> type[ActionDistribution]:
    """The distribution for an action space; equal spaces get the same class."""
    if isinstance(space, MultiDiscrete):
        return _branches(tuple(int(size) for size in space.nvec))
    return DiagonalGaussian


def num_actions(space: ActionSpace) -> int:
    """Action dimensions or branches `K`."""
    assert space.shape is not None
    return int(space.shape[0])


def sample(dist_inputs: Tensor, space: ActionSpace, generator: torch.Generator | None = None) -> Tensor:
    """Draws actions `[N, K]`, float32 unclipped, or int64."""
    return distribution_class(space)(dist_inputs).sample(generator=generator)


def deterministic(dist_inputs: Tensor, space: ActionSpace) -> Tensor:
    """The most likely actions `[N, K]`, float32 unclipped, or int64."""
    return distribution_class(space)(dist_inputs).mode()


def log_prob(dist_inputs: Tensor, actions: Tensor, space: ActionSpace) -> Tensor:
    """Logarithm of the density, or probability, of unclipped `actions` `[N, K]`; `[N]`."""
    return distribution_class(space)(dist_inputs).logp(actions)


def entropy(dist_inputs: Tensor, space: ActionSpace) -> Tensor:
    """Entropy [nats], `[N]`."""
    return distribution_class(space)(dist_inputs).entropy()


def kl(dist_inputs: Tensor, other_inputs: Tensor, space: ActionSpace) -> Tensor:
    """`KL(first || other)` [nats], `[N]`."""
    kind = distribution_class(space)
    return kind(dist_inputs).kl(kind(other_inputs))


@cache
def _branches(nvec: Hashable) -> type[Branches]:
    return type("Branches", (Branches,), {"nvec": nvec, "__doc__": Branches.__doc__})


@cache
def _padding_index(nvec: tuple[int, ...]) -> Tensor:
    """Where each entry of the `[K, widest]` table lies in `logits | fill`; int64."""
    total, widest = sum(nvec), max(nvec)
    with torch.inference_mode(False):  # it is kept, and whoever samples first must not make it useless to learners
        index = torch.full((len(nvec), widest), total)
        start = 0
        for branch, size in enumerate(nvec):
            index[branch, :size] = torch.arange(start, start + size)
            start += size
    return index
