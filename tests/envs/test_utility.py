"""Tests of utilities that are paid step by step, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.utility import RunningUtility, alpha_fair, jain, least

UTILITIES = {"jain": jain, "least": least, "sum": alpha_fair(0, 1), "log": alpha_fair(1, 0.5), "two": alpha_fair(2, 1)}
EVERYONE = np.ones((1, 4), np.bool_)


@pytest.mark.parametrize("utility", UTILITIES.values(), ids=UTILITIES)
@given(
    earned=arrays(np.float64, (5, 2, 3), elements=st.floats(0, 100)),
    counts=arrays(np.bool_, (2, 3)).map(lambda some: some | (np.arange(3) == 0)),
)
def test_what_is_paid_adds_up(utility: Callable[..., Any], earned: Any, counts: Any) -> None:
    """All payments of an episode are the utility of its totals, less that of nothing."""
    running = RunningUtility.zero(utility, 2, 3)
    paid = sum(running.pay(step, counts) for step in earned)
    wanted = utility(np.where(counts, earned.sum(axis=0), 0), counts) - utility(np.zeros((2, 3)), counts)
    np.testing.assert_allclose(paid, wanted, atol=1e-9)


def test_a_world_begins_with_nothing() -> None:
    """Where an episode ends its totals go; the other worlds' stay."""
    running = RunningUtility.zero(least, 2, 2)
    everyone = np.ones((2, 2), np.bool_)
    running.pay(np.ones((2, 2), np.float32), everyone)
    running.begin(np.array([0]))
    np.testing.assert_array_equal(running.totals, [[0, 0], [1, 1]])


@pytest.mark.parametrize("sharing", [1, 2, 3, 4])
def test_jain_is_the_share_of_those_who_share(sharing: int) -> None:
    """Where k of n have the same and the others nothing the index is k / n (Jain et al. 1984)."""
    totals = 7.0 * (np.arange(4) < sharing)[None]
    np.testing.assert_allclose(jain(totals, EVERYONE), sharing / 4)
    np.testing.assert_allclose(jain(totals, EVERYONE & (totals > 0)), 1)


@given(totals=arrays(np.float64, (1, 4), elements=st.floats(0.01, 1e3)), scale=st.floats(0.1, 10))
def test_jain_knows_no_units(totals: Any, scale: float) -> None:
    """It is within [1 / n, 1], and the same for all multiples."""
    found = jain(totals, EVERYONE)
    assert 0.25 - 1e-9 <= found[0] <= 1 + 1e-9
    np.testing.assert_allclose(jain(scale * totals, EVERYONE), found)


def test_alpha_fair_is_what_it_is_called() -> None:
    """0 is the sum, 1 the logarithms, 2 minus the inverses, and between them nothing jumps."""
    totals = np.array([[0.5, 1, 2, 6]])
    np.testing.assert_allclose(alpha_fair(0, 1)(totals, EVERYONE), totals.sum())
    np.testing.assert_allclose(alpha_fair(1, 0.5)(totals, EVERYONE), np.log1p(2 * totals).sum())
    np.testing.assert_allclose(alpha_fair(2, 1)(totals, EVERYONE), (1 - 1 / (1 + totals)).sum())
    near = alpha_fair(1 + 1e-7, 1)(totals, EVERYONE)
    np.testing.assert_allclose(near, alpha_fair(1, 1)(totals, EVERYONE), rtol=1e-5)


def test_aversion_prefers_equal_shares() -> None:
    """Of two ways to share the same amount the more equal is worth more, unless nobody minds inequality."""
    equal, unequal = np.full((1, 4), 5.0), np.array([[1.0, 1, 1, 17]])
    for alpha in (0.5, 1, 2, 5):
        assert alpha_fair(alpha, 1)(equal, EVERYONE) > alpha_fair(alpha, 1)(unequal, EVERYONE)
    assert alpha_fair(0, 1)(equal, EVERYONE) == alpha_fair(0, 1)(unequal, EVERYONE)


def test_what_is_not_allowed_is_named() -> None:
    """One line."""
    with pytest.raises(ValueError, match=r"^alpha: got -1, allowed is 0 or more$"):
        alpha_fair(-1, 1)
    with pytest.raises(ValueError, match=r"^unit: got 0, allowed is above 0$"):
        alpha_fair(1, 0)
    with pytest.raises(ValueError, match=r"^totals: got -2, allowed for alpha-fairness is 0 or more$"):
        alpha_fair(1, 1)(np.array([[-2.0, 1, 1, 1]]), EVERYONE)
