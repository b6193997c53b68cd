"""Tests of what batteries do with what is asked of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.resource_allocation.energy.storage import Batteries

SHAPE = (3, 4)
shares = arrays(np.float64, SHAPE, elements=st.floats(0, 1))


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.float64, SHAPE, elements=st.floats(-1e6, 1e6)),
    shares,
    arrays(np.float64, SHAPE, elements=st.floats(0.3, 1)),
    arrays(np.float64, 3, elements=st.floats(-50, 50)),
    st.floats(0.1, 24),
    st.one_of(st.just(np.inf), st.floats(0.1, 30)),
)
def test_whatever_is_asked_is_cut_to_what_is_possible(
    asked: np.ndarray, held: np.ndarray, lossy: np.ndarray, spare: np.ndarray, hours: float, connection: float
) -> None:
    """Power, store, connection and load are kept, nobody takes and gives at once, and no energy appears."""
    power, energy = np.full(SHAPE, 5.0), np.full(SHAPE, 12.0)
    own = Batteries(power, energy, lossy, lossy[::-1], np.zeros(SHAPE), np.zeros(SHAPE), held * energy)
    length = np.full(3, hours)
    before = own.stored.copy()
    taken, given_back = own.possible(asked, length, np.full(3, connection), spare)
    change = own.move(taken, given_back, length)
    assert (taken >= 0).all()
    assert (given_back >= 0).all()
    assert (taken <= power * (1 + 1e-12)).all()
    assert (given_back <= power * (1 + 1e-12)).all()
    assert (taken * given_back == 0).all()
    assert (own.stored >= 0).all()
    assert (own.stored <= energy).all()
    assert (taken.sum(axis=1) <= connection * (1 + 1e-9)).all()
    assert (given_back.sum(axis=1) <= connection * (1 + 1e-9)).all()
    assert (taken.sum(axis=1) <= np.maximum(spare + given_back.sum(axis=1), 0.0) + 1e-9).all()
    np.testing.assert_allclose(own.stored - before, change, atol=1e-9)
    expected = hours * (own.charging * taken - given_back / own.discharging)
    np.testing.assert_allclose(change, expected, atol=1e-9)


def test_what_is_possible_is_done() -> None:
    """Where nothing stands in the way all is done that is asked, and what does cuts all alike."""
    full = np.ones((1, 2))
    own = Batteries(5 * full, 40 * full, 0.9 * full, 0.8 * full, 0 * full, 0 * full, 20 * full)
    hour = np.ones(1)
    taken, given_back = own.possible(np.array([[3.0, -4.0]]), hour, np.array([np.inf]), np.array([100.0]))
    assert (taken.tolist(), given_back.tolist()) == ([[3.0, 0.0]], [[0.0, 4.0]])
    taken, _ = own.possible(np.array([[3.0, 1.0]]), hour, np.array([np.inf]), np.array([2.0]))
    assert taken[0] == pytest.approx([1.5, 0.5])
    assert own.move(taken, np.array([[0.0, 4.0]]), hour)[0] == pytest.approx([1.35, 0.45 - 5.0])
