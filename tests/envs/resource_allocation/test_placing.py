"""Tests of placing: whatever is asked for, what is granted fits; and little that could be granted is not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from envs.resource_allocation.placing import Kinds, evicted, loads, placed


def each_its_own(needs: np.ndarray, allowed: np.ndarray) -> Kinds:
    """Of jobs `[B, X]`, each of a kind of its own."""
    return Kinds(np.arange(needs.shape[0] * needs.shape[2]), needs, allowed)


def by_world(granted: np.ndarray, worlds: int) -> np.ndarray:
    """What jobs are granted, `[M, N]` to `[B, M, X]`."""
    return granted.reshape(len(granted), worlds, -1).swapaxes(0, 1)


def granted_of(
    requests: np.ndarray,
    needs: np.ndarray,
    allowed: np.ndarray,
    capacity: np.ndarray,
    gangs: np.ndarray,
    passes: int = 3,
) -> np.ndarray:
    """What jobs `[B, X]`, each of a kind of its own, are granted, `[B, M, X]`."""
    found = placed(requests.ravel(), gangs.ravel(), each_its_own(needs, allowed), capacity, passes)
    return by_world(found, len(requests))


def instance(seed: int, jobs: int, machines: int, resources: int) -> tuple[np.random.Generator, dict[str, np.ndarray]]:
    """Jobs that ask for anything, on machines that may have anything, or nothing."""
    rng = np.random.default_rng(seed)
    worlds = 3
    needs = rng.exponential(1.0, (worlds, resources, jobs)) * (rng.random((worlds, resources, jobs)) < 0.7)
    needs[:, 0] += 0.01
    capacity = rng.exponential(10.0, (worlds, machines, resources)) * (rng.random((worlds, machines, resources)) < 0.9)
    requests = rng.choice([0.0, 1e-9, 1.0, 1e6], (worlds, jobs)) * rng.random((worlds, jobs))
    gangs = requests * rng.choice([0.0, 0.5, 1.0], (worlds, jobs))
    allowed = rng.random((worlds, machines, jobs)) < 0.7
    return rng, {"requests": requests, "needs": needs, "allowed": allowed, "capacity": capacity, "gangs": gangs}


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4), st.integers(1, 3))
def test_no_request_ever_breaks_a_capacity(seed: int, jobs: int, machines: int, resources: int) -> None:
    """However much is asked for, by whomever: what is granted fits, where it may run, and is no more than was asked."""
    _, given_ = instance(seed, jobs, machines, resources)
    granted = granted_of(**given_)
    assert (granted >= 0).all()
    assert (loads(granted, given_["needs"]) <= given_["capacity"] * (1 + 1e-9) + 1e-12).all()
    assert (granted[~given_["allowed"]] == 0).all()
    total = granted.sum(axis=1)
    assert (total <= given_["requests"] * (1 + 1e-9)).all()
    assert ((total == 0) | (total >= given_["gangs"] * (1 - 1e-6))).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_what_fits_is_granted(seed: int) -> None:
    """Who asks for no more than there is room for, alone on each machine, gets it all."""
    rng = np.random.default_rng(seed)
    needs, capacity = rng.uniform(0.5, 2, (1, 2, 6)), rng.uniform(20, 40, (1, 1, 2))
    requests = rng.uniform(0, 1, (1, 6))
    granted = granted_of(requests, needs, np.ones((1, 1, 6), np.bool_), capacity, np.zeros((1, 6)))
    np.testing.assert_allclose(granted.sum(axis=1), requests, rtol=1e-9)


def test_further_passes_come_near_what_a_program_finds() -> None:
    """In total, 6 passes place 7 in 10 of what a linear program could that need not share in proportion."""
    placed_, best = 0.0, 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        needs, capacity = rng.uniform(0.1, 2, (1, 2, 8)), rng.uniform(2, 10, (1, 3, 2))
        requests = rng.uniform(1, 6, (1, 8))
        allowed = np.ones((1, 3, 8), np.bool_)
        placed_ += granted_of(requests, needs, allowed, capacity, np.zeros((1, 8)), passes=6).sum()
        rows, limits = [], []
        for machine in range(3):
            for resource in range(2):
                row = np.zeros((8, 3))
                row[:, machine] = needs[0, resource]
                rows.append(row.ravel())
                limits.append(capacity[0, machine, resource])
        for job in range(8):
            row = np.zeros((8, 3))
            row[job] = 1
            rows.append(row.ravel())
            limits.append(requests[0, job])
        best -= linprog(-np.ones(24), A_ub=np.array(rows), b_ub=np.array(limits)).fun
    assert placed_ > 0.7 * best


def test_a_gang_that_is_short_gives_back() -> None:
    """Of two that do not both fit, one that needs all its tasks leaves room to the other."""
    needs, capacity = np.ones((1, 1, 2)), np.full((1, 1, 1), 10.0)
    allowed = np.ones((1, 1, 2), np.bool_)
    granted = granted_of(np.array([[8.0, 8.0]]), needs, allowed, capacity, np.array([[8.0, 0.0]])).sum(axis=1)
    np.testing.assert_allclose(granted, [[0.0, 8.0]])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_the_lowest_priorities_are_evicted_first(seed: int) -> None:
    """Afterwards it fits, and nobody lost a task while one of a lower priority kept all of its on that machine."""
    rng = np.random.default_rng(seed)
    granted, needs = rng.exponential(1.0, (2, 2, 7)), rng.uniform(0.2, 1.0, (2, 2, 7))
    priority, capacity = rng.integers(0, 3, (2, 7)), rng.uniform(0.5, 6, (2, 2, 2))
    kinds = each_its_own(needs, np.ones_like(granted, np.bool_))
    kept = by_world(evicted(granted.swapaxes(0, 1).reshape(2, -1), kinds, priority, capacity), 2)
    assert (kept <= granted).all()
    assert (loads(kept, needs) <= capacity * (1 + 1e-9)).all()
    lost = granted - kept > 1e-9
    for level in (1, 2):
        hit = (lost & (priority == level)[:, None]).any(axis=2)
        lower = ((priority < level)[:, None] & (kept > 1e-9)).any(axis=2)
        assert not (hit & lower).any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_jobs_of_a_kind_are_placed_as_if_each_had_its_own(seed: int) -> None:
    """Reckoning by kinds changes nothing: two worlds with four kinds, against a kind for each job."""
    rng = np.random.default_rng(seed)
    needs, allowed = rng.uniform(0.0, 2.0, (2, 3, 4)) * (rng.random((2, 3, 4)) < 0.7), rng.random((2, 2, 4)) < 0.8
    needs[:, 0] += 0.01
    capacity, kind = rng.uniform(1, 20, (2, 2, 3)), rng.integers(0, 4, (2, 9))
    requests, priority = rng.exponential(4.0, (2, 9)), rng.integers(0, 3, (2, 4))
    gangs = requests * rng.choice([0.0, 0.4, 1.0], (2, 9))
    kinds = Kinds((kind + np.array([[0], [4]])).ravel(), needs, allowed)
    together = placed(requests.ravel(), gangs.ravel(), kinds, capacity)
    of_jobs = [np.take_along_axis(table, kind[:, None], axis=2) for table in (needs, allowed)]
    alone = granted_of(requests, *of_jobs, capacity, gangs)
    np.testing.assert_allclose(by_world(together, 2), alone, rtol=1e-9, atol=1e-12)
    kept = evicted(together, kinds, priority, 0.7 * capacity)
    same = evicted(together, each_its_own(*of_jobs), np.take_along_axis(priority, kind, axis=1), 0.7 * capacity)
    np.testing.assert_allclose(kept, same, rtol=1e-9, atol=1e-12)
