"""Tests of squashed policies."""

from __future__ import annotations

import math

import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from algorithms.networks.config import NetworkConfig
from algorithms.networks.module import module_spec
from algorithms.networks.squashed import SquashedModule, squash
from envs.cue import CueConfig, CueEnv


def test_densities_are_those_of_an_independent_library() -> None:
    """Of squashed normals, also far out, and without the dimensions that are masked."""
    torch.manual_seed(0)
    mean, log_std = torch.randn(50, 3), torch.randn(50, 3) * 0.3
    noise = torch.randn(50, 3)
    before = mean + log_std.exp() * noise
    log_density = -0.5 * noise.square() - log_std - 0.5 * math.log(math.tau)
    mask = torch.tensor([True, True, False]).expand(50, 3)
    actions, density = squash(before, log_density, mask)
    theirs = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    expected = theirs.log_prob(before.tanh().clamp(-1 + 1e-6, 1 - 1e-6))
    near = before.abs().amax(dim=1) < 4
    torch.testing.assert_close(density[near], (expected * mask).sum(dim=1)[near], atol=1e-3, rtol=1e-3)
    assert (actions[:, 2] == 0).all()


def test_what_is_served_is_what_is_learned() -> None:
    """The mode is the squashed mean, and the deviation is right to first order."""
    (group,) = CueEnv(CueConfig(), 1).groups.values()
    module = module_spec(group, NetworkConfig(initial_log_std=-4.0, policy_gain=1.0), kind=SquashedModule).build()
    assert isinstance(module, SquashedModule)
    seen = torch.randn(4, group.layout.size)
    raw, served = module.forward_raw({"obs": seen}), module.forward_policy({"obs": seen})
    mean, log_std = served.chunk(2, dim=1)
    torch.testing.assert_close(mean, raw.chunk(2, dim=1)[0].tanh())
    draws = torch.Generator().manual_seed(0)
    drawn = torch.stack([module.tried(raw, None).sample(generator=draws) for _ in range(2000)])
    torch.testing.assert_close(drawn.std(dim=0), log_std.exp(), rtol=0.1, atol=1e-3)
