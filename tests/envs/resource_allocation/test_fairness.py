"""Tests of indices of fairness against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envs.resource_allocation.fairness import equivalent

LEVELS = np.array([0.2, 0.4, 0.9, 1.0])


def test_means_are_what_they_are_called() -> None:
    """Alpha 0 is the mean, 1 the geometric, 2 the harmonic one, and much is the least: scipy's own."""
    assert equivalent(LEVELS, 0.0) == pytest.approx(LEVELS.mean())
    assert equivalent(LEVELS, 1.0) == pytest.approx(stats.gmean(LEVELS))
    assert equivalent(LEVELS, 2.0) == pytest.approx(stats.hmean(LEVELS))
    assert equivalent(LEVELS, 3.5) == pytest.approx(stats.pmean(LEVELS, -2.5))
    assert equivalent(LEVELS, 1e6) == pytest.approx(0.2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.01, 1e3), min_size=1, max_size=9), st.floats(0, 49), st.floats(0, 49))
def test_more_aversion_asks_for_less(levels: list[float], alpha: float, other: float) -> None:
    """Between least and mean, falling with aversion, growing with the levels, and that of all if all have it."""
    array, (low, high) = np.array(levels), sorted((alpha, other))
    mild, strict = equivalent(array, low), equivalent(array, high)
    assert array.min() * (1 - 1e-9) <= strict <= mild * (1 + 1e-9) <= array.mean() * (1 + 1e-8)
    assert equivalent(2 * array, low) == pytest.approx(2 * mild)
    assert equivalent(np.full(5, mild), low) == pytest.approx(mild)


def test_who_is_not_there_does_not_count() -> None:
    """Figures of some are those of a shorter list; of none they are 1."""
    who = np.array([True, False, True, False])
    for alpha in (0.0, 1.0, 2.0, 99.0):
        assert equivalent(LEVELS, alpha, who) == pytest.approx(equivalent(LEVELS[who], alpha))
    assert equivalent(LEVELS, 1.0, np.zeros(4, np.bool_)) == 1.0
