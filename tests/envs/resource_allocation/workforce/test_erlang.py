"""Tests of the Erlang formulas against published figures, a birth-death chain and numerical integrals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import poisson

from envs.resource_allocation.workforce.erlang import erlang_a, erlang_b, erlang_c


def chain(calls: float, handled: float, given_up: float, servers: int, most: int = 4000) -> tuple[float, float]:
    """Shares that wait and give up, from the stationary distribution of the number of calls in an M/M/c+M queue."""
    number = np.arange(1, most)
    death = handled * np.minimum(number, servers) + given_up * np.maximum(number - servers, 0)
    logs = np.concatenate([[0.0], np.cumsum(np.log(calls) - np.log(death))])
    chance = np.exp(logs - logs.max())
    chance /= chance.sum()
    waiting = np.maximum(np.arange(most) - servers, 0)
    return float(chance[servers:].sum()), float(given_up * (chance * waiting).sum() / calls)


def solved(calls: float, handled: float, given_up: float, servers: int, limit: float = 0.0) -> tuple[float, ...]:
    """Erlang A of one queue."""
    blocked = erlang_b(calls / handled, max(servers - 1, 0))[-1]
    found = erlang_a(calls, handled, given_up, servers, blocked, limit)
    return tuple(float(part) for part in (found.waits, found.abandons, found.wait, found.prompt))


def test_erlang_b_and_c_are_the_published_ones() -> None:
    """Two erlangs on two lines lose 40%; ten on twelve servers wait with probability 0.4494; no fewer than the load."""
    assert erlang_b(2.0, 2)[-1] == pytest.approx(0.4)
    assert erlang_c(10.0, 12)[-1] == pytest.approx(0.4494, abs=5e-5)
    assert (erlang_c(10.0, 12)[:11] == 1).all()


@pytest.mark.parametrize(("load", "servers"), [(0.5, 1), (7.3, 9), (80.0, 90)])
def test_erlang_b_is_a_truncated_poisson(load: float, servers: int) -> None:
    """Whoever finds all servers busy does so with the probability of a Poisson number cut off there."""
    expected = poisson.pmf(servers, load) / poisson.cdf(servers, load)
    assert erlang_b(load, servers)[-1] == pytest.approx(expected, rel=1e-10)
    waits = expected / (1 - load / servers * (1 - expected))
    assert erlang_c(load, servers)[-1] == pytest.approx(waits, rel=1e-10)


def test_erlang_a_whose_patience_is_the_handling_time() -> None:
    """Then there are as many calls as in an infinite-server queue: Poisson(10) on ten servers, .5421 wait, .1251 go."""
    waits, abandons, _, _ = solved(10.0, 1.0, 1.0, 10)
    assert waits == pytest.approx(poisson.sf(9, 10.0), rel=1e-10)
    assert (round(waits, 4), round(abandons, 4)) == (0.5421, 0.1251)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.2, 40.0), st.floats(0.1, 2.0), st.floats(0.05, 3.0), st.integers(0, 60))
def test_erlang_a_is_the_birth_death_chain(load: float, handled: float, given_up: float, servers: int) -> None:
    """Whatever the rates; and waiting time and abandonment are tied by `abandoned = theta * wait`."""
    calls = load * handled
    waits, abandons, wait, prompt = solved(calls, handled, given_up, servers)
    expected = chain(calls, handled, given_up, servers)
    np.testing.assert_allclose((waits, abandons), expected, rtol=1e-6, atol=1e-9)
    assert wait == pytest.approx(abandons / given_up)
    assert prompt == pytest.approx(1 - waits, abs=1e-9)


@pytest.mark.parametrize(
    ("calls", "servers", "limit"), [(10.0, 10, 0.1), (14.0, 10, 0.3), (6.0, 10, 0.05), (10.0, 9, 50.0)]
)
def test_who_is_answered_in_time_is_an_integral(calls: float, servers: int, limit: float) -> None:
    """Of the virtual wait's density `exp(eta (1 - exp(-theta v)) - c mu v)`, times the chance of still being there."""
    handled, given_up = 1.0, 0.7
    waits, abandons, _, prompt = solved(calls, handled, given_up, servers, limit)

    def density(time: float) -> float:
        return float(np.exp(calls / given_up * (1 - np.exp(-given_up * time)) - servers * handled * time))

    whole = quad(density, 0, 60)[0]
    reached = quad(lambda time: density(time) * np.exp(-given_up * time), 0, min(limit, 60))[0]
    assert prompt == pytest.approx(1 - waits + waits * reached / whole, rel=1e-7)
    if limit > 40:
        assert prompt == pytest.approx(1 - abandons, rel=1e-9)
