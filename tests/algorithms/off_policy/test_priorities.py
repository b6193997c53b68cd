"""Tests of prioritised replay, against the paper's formulas."""

from __future__ import annotations

import numpy as np
import pytest

from algorithms.off_policy.priorities import LEAST, Priorities


def filled(exponent: float, correction: float = 1.0) -> tuple[Priorities, np.ndarray, np.ndarray]:
    """Two rings of four frames, of which five were played and learned from; with what was wrong of each."""
    priorities = Priorities(2, 4, exponent, correction)
    worlds, places = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 3, 0, 2])
    errors = np.array([0.1, -2.0, 0.5, 1.0, 4.0])
    priorities.put(worlds, places, drawable=True)
    priorities.put(np.array([1]), np.array([3]), drawable=False)
    priorities.learned(worlds, places, errors)
    chances = (np.abs(errors) + LEAST) ** exponent
    return priorities, worlds * 4 + places, chances / chances.sum()


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_frames_are_drawn_as_often_as_they_were_wrong(exponent: float) -> None:
    """With probability `p^a / sum p^a`, and never one that was not played."""
    priorities, frames, chances = filled(exponent)
    worlds, places = priorities.draw(100_000, np.random.default_rng(0))
    shares = np.bincount(worlds * 4 + places, minlength=8) / 100_000
    np.testing.assert_allclose(shares[frames], chances, atol=1e-3)
    assert shares.sum() == pytest.approx(shares[frames].sum())


def test_what_is_drawn_more_often_counts_less() -> None:
    """`(n P)^-b` over the largest; with `b = 1` draws and what they count make up for each other."""
    priorities, frames, chances = filled(0.7, correction=0.4)
    found = priorities.weights(*np.divmod(frames, 4), count=5)
    wanted = (5 * chances) ** -0.4
    np.testing.assert_allclose(found, wanted / wanted.max(), rtol=1e-5)
    priorities, frames, chances = filled(0.7)
    even = chances * priorities.weights(*np.divmod(frames, 4), count=5)
    np.testing.assert_allclose(even, even[0], rtol=1e-5)


def test_errors_that_are_not_finite_say_nothing() -> None:
    """What is drawn stays what it was."""
    priorities, frames, _ = filled(1.0)
    before = priorities.shares.copy()
    priorities.learned(*np.divmod(frames[:2], 4), np.array([np.nan, np.inf]))
    np.testing.assert_array_equal(priorities.shares, before)


def test_what_is_new_comes_first() -> None:
    """It has the largest priority there is, also after others have been learned from."""
    priorities, frames, _ = filled(1.0)
    priorities.put(np.array([0]), np.array([2]), drawable=True)
    assert priorities.shares[0, 2] == priorities.shares.max() == pytest.approx(4.0 + LEAST)
    priorities.put(*np.divmod(frames[-1:], 4), drawable=False)  # a ring has gone round
    worlds, places = priorities.draw(1000, np.random.default_rng(0))
    assert frames[-1] not in worlds * 4 + places
