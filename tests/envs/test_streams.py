"""Tests of the random streams that make a world in a batch the world alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.streams import WorldStreams


def _started(num_worlds: int, first_world: int = 0, seed: int = 3, episode: int = 0) -> WorldStreams:
    streams = WorldStreams(num_worlds, first_world)
    streams.seed = seed
    streams.restart(np.arange(num_worlds), np.full(num_worlds, episode))
    return streams


def _draws(streams: WorldStreams, count: int = 5) -> NDArray[np.float64]:
    return np.stack([generator.standard_normal(count) for generator in streams.generators])


def test_a_world_has_its_stream_whatever_the_batch() -> None:
    """World 5 draws the same numbers in a batch of eight and in a batch of its own."""
    np.testing.assert_array_equal(_draws(_started(8))[5], _draws(_started(1, first_world=5))[0])


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2**20)] * 3), min_size=2, max_size=6, unique=True))
def test_every_key_has_a_stream_of_its_own(keys: list[tuple[int, int, int]]) -> None:
    """Different (seed, world, episode) never share their first numbers."""
    firsts = {_draws(_started(1, world, seed, episode)).tobytes() for seed, world, episode in keys}
    assert len(firsts) == len(keys)


def test_streams_of_neighbours_are_uncorrelated() -> None:
    """Worlds, episodes and seeds next to each other give correlations no larger than chance allows."""
    rows = np.concatenate([_draws(_started(4, seed=s, episode=e), 2000) for s in (0, 1) for e in (0, 1)])
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    # 120 pairs, deviation 1 / sqrt(2000): five deviations are exceeded about once in 15,000 such tests.
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)


def test_restart_touches_the_given_worlds_only() -> None:
    """Restarting one world leaves the streams of the others where they were."""
    streams, undisturbed = _started(3), _started(3)
    _draws(streams), _draws(undisturbed)
    streams.restart(np.array([1]), np.array([9, 1, 9]))
    after, expected = _draws(streams), _draws(undisturbed)
    np.testing.assert_array_equal(after[[0, 2]], expected[[0, 2]])
    np.testing.assert_array_equal(after[1], _draws(_started(3, episode=1))[1])


def test_a_state_restores_the_streams_in_mid_course() -> None:
    """Numbers drawn after restoring are those that would have come."""
    streams = _started(3)
    _draws(streams)
    state = streams.get_state()
    expected = _draws(streams)
    other = WorldStreams(3)
    other.set_state(state)
    np.testing.assert_array_equal(_draws(other), expected)
    assert other.seed == 3
