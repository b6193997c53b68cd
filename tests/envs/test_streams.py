"""Tests of the random streams that make a world in a batch the world alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from envs.streams import NormalBlocks, WorldStreams


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


def test_blocks_are_the_stream_cut_into_steps() -> None:
    """Step by step, blocks hand out exactly the numbers of the world's stream, across a block's end."""
    blocks = NormalBlocks(_started(2), width=3, block=4)
    steps = np.stack([blocks.next() for _ in range(10)], axis=1)
    expected = _draws(_started(2), 3 * 12).reshape(2, 12, 3)[:, :10]
    np.testing.assert_array_equal(steps, expected)


def test_blocks_do_not_depend_on_who_else_steps() -> None:
    """A world that steps more often than its neighbours meets the same numbers."""
    blocks = NormalBlocks(_started(3), width=2, block=4)
    alone = NormalBlocks(_started(1, first_world=1), width=2, block=4)
    mine = [blocks.next(np.array([1]))[0] if step % 3 else blocks.next()[1] for step in range(9)]
    np.testing.assert_array_equal(mine, [alone.next()[0] for _ in range(9)])


def test_a_restarted_world_draws_from_its_new_stream() -> None:
    """What was drawn ahead for the old episode is forgotten."""
    streams = _started(2)
    blocks = NormalBlocks(streams, width=2, block=8)
    blocks.next()
    streams.restart(np.array([0]), np.array([1, 0]))
    blocks.restart(np.array([0]))
    row = blocks.next()
    np.testing.assert_array_equal(row[0], _draws(_started(1, episode=1), 2)[0])
    np.testing.assert_array_equal(row[1], _draws(_started(2), 4)[1, 2:])


def test_a_state_restores_numbers_drawn_ahead() -> None:
    """Blocks restored with their streams go on in the middle of a block, and later ones."""
    streams = _started(2)
    blocks = NormalBlocks(streams, width=2, block=4)
    blocks.next()
    saved = streams.get_state(), blocks.get_state()
    expected = [blocks.next() for _ in range(9)]
    other_streams = WorldStreams(2)
    other = NormalBlocks(other_streams, width=2, block=4)
    other_streams.set_state(saved[0])
    other.set_state(saved[1])
    np.testing.assert_array_equal([other.next() for _ in range(9)], expected)


def test_numbers_are_standard_normal() -> None:
    """A Kolmogorov-Smirnov test finds no difference from the standard normal."""
    blocks = NormalBlocks(_started(10), width=5)
    numbers = np.concatenate([blocks.next().ravel() for _ in range(100)])
    assert stats.kstest(numbers, "norm").pvalue > 1e-4
