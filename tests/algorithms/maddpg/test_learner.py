"""Tests of what MADDPG's update is made of."""

from __future__ import annotations

import torch
from gymnasium.spaces import MultiDiscrete

from algorithms.maddpg.learner import relaxed_choices
from algorithms.networks.distributions import Branches, distribution_class


def test_relaxed_choices_are_draws_whose_gradient_is_a_softmaxs() -> None:
    """One-hot codes, branch by branch, as frequent as they are likely; what one choice gains the others lose."""
    kind = distribution_class(MultiDiscrete([3, 2]))
    logits = torch.tensor([[0.0, 1.0, 2.0, 0.5, -0.5]], requires_grad=True)
    many = kind(logits.expand(20_000, -1))
    assert isinstance(many, Branches)
    draws = relaxed_choices(many, 1.0, torch.Generator().manual_seed(0))
    assert set(draws.detach().round(decimals=5).unique().tolist()) <= {0.0, 1.0}
    frequencies = draws.detach().mean(dim=0)
    expected = torch.cat([logits[0, :3].softmax(0), logits[0, 3:].softmax(0)]).detach()
    torch.testing.assert_close(frequencies, expected, atol=0.015, rtol=0.05)
    (gradient,) = torch.autograd.grad(draws[:, 0].mean(), logits)
    assert gradient[0, 0] > 0
    assert abs(gradient[0, :3].sum()) < 1e-6
    assert (gradient[0, 3:] == 0).all()
