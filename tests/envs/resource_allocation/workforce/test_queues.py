"""Tests of the queues: closed forms within a percent, and a simulation event by event to the bit."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.resource_allocation.workforce.erlang import erlang_a, erlang_b, erlang_c
from envs.resource_allocation.workforce.queues import Served, serve

FAR = 1e9


def steady(calls: float, servers: int, work: Any, patience: float | None, queues: int, number: int) -> Any:
    """Waits and abandonments of many queues' calls after they have come to a steady state, `[number / 2, queues]`."""
    rng = np.random.default_rng(3)
    came = rng.exponential(1 / calls, (number, queues)).cumsum(axis=0)
    until = np.full(came.shape, FAR) if patience is None else came + rng.exponential(patience, came.shape)
    free, speed = np.zeros((queues, servers)), np.ones((queues, servers))
    served = serve(came, work(rng, came.shape), until, np.ones(came.shape, bool), free, speed, np.full(queues, FAR))
    waits = np.where(served.answered, served.start, until) - came
    return waits[number // 2 :], ~served.answered[number // 2 :]


def exponential(rng: np.random.Generator, shape: Any) -> Any:
    """Handling times of mean 1."""
    return rng.exponential(1.0, shape)


@pytest.mark.parametrize(("load", "servers", "queues", "number"), [(10.0, 12, 3000, 3000), (2.0, 3, 4000, 1600)])
def test_erlang_c_is_met_within_a_percent(load: float, servers: int, queues: int, number: int) -> None:
    """How many wait, and for how long."""
    waits, _ = steady(load, servers, exponential, None, queues, number)
    share = float(erlang_c(load, servers)[-1])
    assert (waits > 0).mean() == pytest.approx(share, rel=0.01)
    assert waits.mean() == pytest.approx(share / (servers - load), rel=0.01)


def test_erlang_a_is_met_within_a_percent() -> None:
    """Ten erlangs on ten servers whose callers are as patient as calls are long: .5421 wait, .1251 give up."""
    waits, gone = steady(10.0, 10, exponential, 1.0, 6000, 1600)
    found = erlang_a(10.0, 1.0, 1.0, 10, erlang_b(10.0, 9)[-1], 0.1)
    assert (waits > 0).mean() == pytest.approx(float(found.waits), rel=0.01)
    assert gone.mean() == pytest.approx(float(found.abandons), rel=0.01)
    assert waits.mean() == pytest.approx(float(found.wait), rel=0.01)
    assert (~gone & (waits <= 0.1)).mean() == pytest.approx(float(found.prompt), rel=0.01)


def test_pollaczek_and_khinchine_are_met_within_a_percent() -> None:
    """One server, lognormal handling of cv 0.8: the mean wait is `lambda E(S^2) / (2 (1 - rho))`."""
    log_variance = np.log1p(0.8**2)

    def lognormal(rng: np.random.Generator, shape: Any) -> Any:
        return rng.lognormal(-log_variance / 2, np.sqrt(log_variance), shape)

    waits, _ = steady(0.5, 1, lognormal, None, 20_000, 600)
    assert waits.mean() == pytest.approx(0.5 * (1 + 0.8**2) / (2 * (1 - 0.5)), rel=0.01)


def one_by_one(came: Any, work: Any, until: Any, servers: int, end: float) -> list[tuple[str, float]]:
    """The same queue with a heap of the times at which servers are free, call by call."""
    free, found = [0.0] * servers, []
    for number in range(len(came)):
        begin = max(came[number], free[0]) if free else FAR
        if begin < end and begin <= until[number]:
            heapq.heapreplace(free, begin + work[number])
            found.append(("answered", begin))
        else:
            found.append(("abandoned" if until[number] < end else "waiting", 0.0))
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.3, 3.0))
def test_it_is_what_a_heap_finds_call_by_call(seed: int, servers: int, load: float) -> None:
    """To the bit, for several queues at once, with calls that give up and calls that still wait at the end."""
    rng = np.random.default_rng(seed)
    came = rng.exponential(1 / (load * servers), (25, 3)).cumsum(axis=0)
    work, until = rng.exponential(1.0, came.shape), came + rng.exponential(0.8, came.shape)
    end = 4.0
    there = came < end
    free = np.zeros((3, servers))
    served = serve(came, work, until, there, free, np.ones((3, servers)), np.full(3, end))
    for queue in range(3):
        count = int(there[:, queue].sum())
        expected = one_by_one(came[:count, queue], work[:, queue], until[:, queue], servers, end)
        for number, (what, begin) in enumerate(expected):
            assert getattr(served, what)[number, queue]
            assert what != "answered" or served.start[number, queue] == begin


def test_a_period_cut_in_two_is_the_same_period() -> None:
    """Whoever still waits at the cut goes on waiting: what becomes of calls, and when, does not change."""
    rng = np.random.default_rng(1)
    came = rng.uniform(0, 10, (120, 1))
    came.sort(axis=0)
    work, until = rng.exponential(1.0, came.shape), came + rng.exponential(2.0, came.shape)
    speed, all_of = np.ones((1, 5)), np.ones(came.shape, bool)
    whole = serve(came, work, until, all_of, np.zeros((1, 5)), speed, np.array([20.0]))
    free = np.zeros((1, 5))
    first = serve(came, work, until, came < 6.0, free, speed, np.array([6.0]))
    later = first.waiting | (came >= 6.0)
    assert first.waiting.any()
    second = serve(np.maximum(came, 6.0), work, until, later, free, speed, np.array([20.0]))
    together = Served(*(np.where(later, getattr(second, n), getattr(first, n)) for n in vars(second)))
    np.testing.assert_array_equal(together.answered, whole.answered)
    np.testing.assert_array_equal(together.start[whole.answered], whole.start[whole.answered])


def test_a_fast_server_takes_less_time() -> None:
    """Twice the speed, half the time; and nobody is answered where there is no server."""
    free = np.array([[0.0], [np.inf]])
    came, there = np.zeros((1, 2)), np.ones((1, 2), bool)
    served = serve(came, came + 3.0, came + 1.0, there, free, np.array([[2.0], [1.0]]), np.full(2, 9.0))
    assert free[0, 0] == 1.5
    assert served.abandoned.tolist() == [[False, True]]
