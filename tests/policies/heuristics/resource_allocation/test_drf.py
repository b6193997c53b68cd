"""Tests of DRF: the paper's example, and the properties that it proves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.heuristics.resource_allocation.drf import drf


def test_the_papers_example() -> None:
    """Of 9 CPUs and 18 GB, users of <1 CPU, 4 GB> and <3 CPUs, 1 GB> get 3 and 2 tasks (Ghodsi et al. 2011, fig. 3)."""
    demands = np.array([[[1.0, 4.0], [3.0, 1.0]]])
    np.testing.assert_allclose(drf(demands, np.full((1, 2), 1e9), np.array([[9.0, 18.0]])), [[3.0, 2.0]])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 4))
def test_what_the_paper_proves_holds(seed: int, users: int, resources: int) -> None:
    """It fits, something is used up, all have at least an even part, and nobody would rather have another's."""
    rng = np.random.default_rng(seed)
    demands, capacity = rng.uniform(0.05, 2, (1, users, resources)), rng.uniform(5, 50, (1, resources))
    got = drf(demands, np.full((1, users), 1e9), capacity)[0]
    demands, capacity = demands[0], capacity[0]
    used = got @ demands
    assert (used <= capacity * (1 + 1e-9)).all()
    assert (used >= capacity * (1 - 1e-6)).any()  # Pareto efficiency: all need everything, and something is used up
    even = (capacity / users / demands).min(axis=1)
    assert (got >= even * (1 - 1e-9)).all()  # sharing incentive
    for user in range(users):
        for other in range(users):
            enough = (got[other] * demands[other] / demands[user]).min()
            assert got[user] >= enough * (1 - 1e-9)  # envy-freeness


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 5))
def test_a_liar_gains_nothing(seed: int, factor: float) -> None:
    """Whoever says a task takes more or less of something runs no more tasks: strategy-proofness."""
    rng = np.random.default_rng(seed)
    demands, capacity = rng.uniform(0.05, 2, (1, 4, 3)), rng.uniform(5, 50, (1, 3))
    honest = drf(demands, np.full((1, 4), 1e9), capacity)[0, 0]
    lie = demands.copy()
    lie[0, 0, rng.integers(3)] *= factor
    got = drf(lie, np.full((1, 4), 1e9), capacity)[0, 0] * lie[0, 0]
    assert (got / demands[0, 0]).min() <= honest * (1 + 1e-9)


def test_who_wants_little_leaves_the_rest_to_others() -> None:
    """A user who has all it wants stops; the others go on."""
    demands = np.ones((1, 3, 1))
    np.testing.assert_allclose(drf(demands, np.array([[1.0, 99.0, 99.0]]), np.array([[11.0]])), [[1.0, 5.0, 5.0]])
    weighed = drf(demands, np.full((1, 3), 99.0), np.array([[12.0]]), np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(weighed, [[2.0, 4.0, 6.0]])


def test_clusters_side_by_side_are_those_of_each() -> None:
    """What one gets does not depend on others in the batch."""
    rng = np.random.default_rng(0)
    demands, caps, capacity = rng.uniform(0.1, 2, (5, 4, 2)), rng.uniform(1, 9, (5, 4)), rng.uniform(5, 20, (5, 2))
    together = drf(demands, caps, capacity)
    for world in range(5):
        alone = drf(demands[world : world + 1], caps[world : world + 1], capacity[world : world + 1])
        np.testing.assert_array_equal(together[world], alone[0])
    assert together == pytest.approx(np.minimum(together, caps))
