"""Tests of the monotonic mixer."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.qmix.mixer import MonotonicMixer


@settings(max_examples=30, deadline=None)
@given(units=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_no_unit_lowers_the_team_by_raising_itself(units: int, seed: int) -> None:
    """In any state the value's slope to each utility is not negative: what is best for each is best for all."""
    torch.manual_seed(seed)
    mixer = MonotonicMixer(units, 5, 8, 16)
    utilities = torch.randn(20, units, requires_grad=True)
    value = mixer(utilities, torch.randn(20, 5))
    (slopes,) = torch.autograd.grad(value.sum(), utilities)
    assert (slopes >= 0).all()
    assert slopes.abs().sum() > 0


def test_the_state_decides_the_weights() -> None:
    """The same utilities are worth different amounts in different states, which sums cannot say."""
    torch.manual_seed(0)
    mixer = MonotonicMixer(2, 3, 8, 16)
    states = torch.randn(2, 3)
    gains = mixer(torch.ones(2, 2), states) - mixer(torch.zeros(2, 2), states)
    assert not torch.isclose(gains[0], gains[1])
