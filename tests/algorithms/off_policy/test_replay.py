"""Tests of joint replay, held to a list of everything that happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from algorithms.off_policy.columns import (
    ACTIONS,
    ACTS,
    ALIVE,
    BEGAN,
    BEGINS,
    COUNTS,
    DISCOUNTS,
    ENDED,
    ENDS,
    FINAL,
    NEXT,
    OBS,
    REWARDS,
    SEQUENCE,
    STARTS,
    STATE,
    TERMINATED,
)
from algorithms.off_policy.replay import Replay

AGENTS, GAMMA = 2, 0.5


class Tape:
    """Makes up rollouts in which every observation says which world and moment it is, and remembers what led where.

    Args:
        worlds: How many.
        seed: Of what is made up.
    """

    def __init__(self, worlds: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.worlds = worlds
        self.moment = 0
        self.seen = np.array([self._next() for _ in range(worlds)])
        self.after: dict[float, float] = {}
        self.reward: dict[float, float] = {}
        self.died: dict[float, bool] = {}

    def _next(self) -> float:
        self.moment += 1
        return float(self.moment)

    def rollout(self, steps: int, *, began: bool = False, ends: float = 0.2) -> dict[str, dict[str, Any]]:
        """The next rollout of all worlds, as a collector would make it."""
        if began:
            self.seen = np.array([self._next() for _ in range(self.worlds)])
        shape = (steps, self.worlds, AGENTS)
        observations, rewards = np.zeros((*shape, 1), np.float32), np.zeros(shape, np.float32)
        ended, died = np.zeros(shape[:2], np.bool_), np.zeros(shape, np.bool_)
        finals = []
        for step in range(steps):
            for world in range(self.worlds):
                now, following = self.seen[world], self._next()
                observations[step, world] = now
                rewards[step, world] = self.reward[now] = self.rng.normal()
                over, dead = self.rng.random() < ends, self.rng.random() < 0.5
                self.after[now], self.died[now] = following, bool(over and dead)
                if over:
                    ended[step, world], died[step, world] = True, dead
                    finals.append(following)
                    following = self._next()
                self.seen[world] = following
        last = np.array(finals, np.float32)
        everyone = np.ones(shape, np.bool_)
        return {
            "team": {
                OBS: observations,
                ACTIONS: observations.astype(np.int64) % 7,
                REWARDS: rewards,
                TERMINATED: died,
                ACTS: everyone,
                ALIVE: everyone,
                STATE: observations[:, :, 0],
                ENDED: ended,
                BEGAN: np.full(self.worlds, began),
                FINAL + OBS: np.broadcast_to(last[:, None, None], (last.size, AGENTS, 1)),
                FINAL + ACTS: np.ones((last.size, AGENTS), np.bool_),
                FINAL + ALIVE: np.ones((last.size, AGENTS), np.bool_),
                FINAL + STATE: last[:, None],
            }
        }

    def walk(self, now: float, steps: int, known: set[float]) -> tuple[float, float, float]:
        """Where one is after up to `steps` steps, what was earned on the way, and what the end counts."""
        earned, discount = 0.0, 1.0
        for _ in range(steps):
            earned += discount * self.reward[now]
            discount *= GAMMA * (not self.died[now])
            now = self.after[now]
            if now not in self.after or now not in known or self.after[now] not in known:
                break
        return now, earned, discount


def everything_in(replay: Replay) -> set[float]:
    """All observations that the rings hold."""
    held = set()
    for world in range(replay.worlds):
        for age in range(replay.filled[world]):
            place = (replay.head[world] - 1 - age) % replay.size
            held.add(float(replay.columns["team"][OBS][world, place, 0, 0]))
    return held


@settings(max_examples=40, deadline=None)
@given(
    worlds=st.integers(1, 4),
    size=st.integers(8, 40),
    rollouts=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=2, max_size=6),
    steps=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_transitions_are_those_that_happened(
    worlds: int, size: int, rollouts: list[tuple[int, bool]], steps: int, seed: int
) -> None:
    """Whatever episodes end, worlds restart and rings go round: every row leads where it led, for what it earned."""
    tape, replay = Tape(worlds, seed), Replay(frames=size, memory=2**30, worlds=worlds)
    for length, began in rollouts:
        replay.insert(tape.rollout(length, began=began))
    if not (replay.filled > 1).any():
        return
    held = everything_in(replay)
    pairs = np.argwhere(replay.kind >= 0)
    inside = (pairs[:, 1] - replay.head[pairs[:, 0]]) % replay.size >= replay.size - replay.filled[pairs[:, 0]]
    if not (replay._leads_on(pairs[:, 0], pairs[:, 1]) & inside).any():
        return
    rows = replay.sample(64, gamma=GAMMA, steps=steps, rng=np.random.default_rng(seed))["team"]
    for now, after, earned, discount, action in zip(
        rows[OBS][:, 0, 0], rows[NEXT + OBS][:, 0, 0], rows[REWARDS], rows[DISCOUNTS], rows[ACTIONS], strict=True
    ):
        end, total, left = tape.walk(float(now), steps, held)
        assert float(after) == end
        assert earned == pytest.approx(total, abs=1e-5)
        assert discount == pytest.approx(left)
        assert (action == int(now) % 7).all()
    np.testing.assert_array_equal(rows[STATE], rows[OBS][:, 0])
    np.testing.assert_array_equal(rows[NEXT + STATE], rows[NEXT + OBS][:, 0])


def test_all_that_can_be_had_is_drawn_alike() -> None:
    """Each transition of a ring that went round comes up as often as any other, within chance."""
    tape, replay = Tape(3, 1), Replay(frames=20, memory=2**30, worlds=3)
    for _ in range(5):
        replay.insert(tape.rollout(9))
    rows = replay.sample(40_000, gamma=GAMMA, steps=1, rng=np.random.default_rng(0))["team"]
    _, counts = np.unique(rows[OBS][:, 0, 0], return_counts=True)
    can = sum(
        bool(replay._leads_on(np.array([world]), np.array([place]))[0]) for world in range(3) for place in range(20)
    )
    assert counts.size == can > 30
    expected = 40_000 / can
    assert ((counts - expected) ** 2 / expected).sum() < can + 6 * np.sqrt(2 * can)


def test_it_keeps_to_its_memory() -> None:
    """Rings are as long as memory allows, and where that is next to nothing the line says how much is needed."""
    tape = Tape(2, 0)
    replay = Replay(frames=10**6, memory=10_000, worlds=2)
    replay.insert(tape.rollout(4))
    assert replay.nbytes <= 10_000 < replay.nbytes * 1.1
    with pytest.raises(ValueError, match=r"^replay_memory: got .*, allowed is .* or more .GiB.: 8 frames of 2"):
        Replay(frames=10**6, memory=100, worlds=2).insert(Tape(2, 0).rollout(4))


@pytest.mark.parametrize("rollouts", [1, 6])
def test_what_is_saved_comes_back(tmp_path: Path, rollouts: int) -> None:
    """A replay that was saved, in use in part or gone round, draws and goes on as the one that was not."""
    tape, replay = Tape(2, 3), Replay(frames=16, memory=2**30, worlds=2)
    for _ in range(rollouts):
        replay.insert(tape.rollout(5))
    replay.save(LocalFileSystem(), str(tmp_path))
    again = Replay(frames=16, memory=2**30, worlds=2)
    again.load(LocalFileSystem(), str(tmp_path))
    coming = tape.rollout(3)
    for each in (replay, again):
        each.insert(coming)
    drawn = [each.sample(50, gamma=GAMMA, steps=3, rng=np.random.default_rng(2))["team"] for each in (replay, again)]
    for name in drawn[0]:
        np.testing.assert_array_equal(drawn[0][name], drawn[1][name])
    with pytest.raises(ValueError, match=r"^replay: got one of 2 worlds, allowed is one of this run's 3$"):
        Replay(frames=16, memory=2**30, worlds=3).load(LocalFileSystem(), str(tmp_path))


def test_some_worlds_alone_go_to_their_own_rings() -> None:
    """A runner's rollout fills the rings of its worlds, and no others."""
    replay = Replay(frames=16, memory=2**30, worlds=4)
    replay.insert(Tape(2, 0).rollout(5, ends=0.0), first_world=2)
    assert replay.filled.tolist() == [0, 0, 5, 5]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 3), burn_in=st.integers(0, 5), length=st.integers(1, 6))
def test_sequences_are_what_happened_one_after_the_other(seed: int, steps: int, burn_in: int, length: int) -> None:
    """Frames that are there follow each other as they did, episodes begin where they did, and transitions are right."""
    tape, replay = Tape(3, seed), Replay(frames=40, memory=2**20, worlds=3)
    for number in range(4):
        replay.insert(tape.rollout(9, began=number == 2))
    rng = np.random.default_rng(seed)
    rows = replay.sample_sequences(20, gamma=GAMMA, steps=steps, length=length, burn_in=burn_in, rng=rng)["team"]
    total = burn_in + length + steps
    frames, begins = rows[SEQUENCE + OBS][:, :, 0, 0], rows[BEGINS]
    there = rows[SEQUENCE + ALIVE].all(axis=2)
    assert frames.shape == begins.shape == there.shape == (20, total)
    assert there[:, burn_in].all()
    assert rows[COUNTS].reshape(20, length)[:, 0].all()
    for row in range(20):
        for frame in range(1, total):
            if not there[row, frame]:
                continue
            now, before = frames[row, frame], frames[row, frame - 1]
            known = there[row, frame - 1] and tape.after.get(before) == now
            assert begins[row, frame] != known
    starts, ends, counts = (rows[name].reshape(20, length) for name in (STARTS, ENDS, COUNTS))
    each = np.arange(20)[:, None]
    np.testing.assert_array_equal(frames[each, starts][counts], rows[OBS][:, 0, 0].reshape(20, length)[counts])
    assert there[each, ends][counts].all()
    for row, place in zip(*np.nonzero(counts), strict=True):
        moment, reward, weight = frames[row, starts[row, place]], 0.0, 1.0
        for _ in range(ends[row, place] - starts[row, place]):
            reward += weight * tape.reward[moment]
            weight *= GAMMA * (not tape.died[moment])
            moment = tape.after[moment]
        assert moment == frames[row, ends[row, place]]
        earned = rows[REWARDS].reshape(20, length, AGENTS)[row, place, 0]
        np.testing.assert_allclose(earned, reward, rtol=1e-5, atol=1e-6)  # rewards of single precision may cancel
    assert not rows[ALIVE].reshape(20, length, AGENTS)[~counts].any()


def test_worlds_that_began_anew_are_kept_apart() -> None:
    """Some of the worlds, and only they: nothing leads from what was before to what came after."""
    tape, replay = Tape(3, 0), Replay(frames=64, memory=2**20, worlds=3)
    replay.insert(tape.rollout(4, ends=0.0))
    batch = tape.rollout(4, ends=0.0)
    batch["team"][BEGAN] = np.array([False, True, False])
    before = float(replay.columns["team"][OBS][1, 3, 0, 0])
    replay.insert(batch)
    assert replay.filled.tolist() == [8, 9, 8]
    drawn = replay.sample(500, gamma=GAMMA, steps=1, rng=np.random.default_rng(0))["team"]
    starts = set(drawn[OBS][:, 0, 0].tolist())
    assert before not in starts
    assert len(starts) == 3 * 7 - 1


def test_priorities_begin_where_a_replay_had_none(tmp_path: Path) -> None:
    """What was played is drawn, all of it alike, and what comes after as well."""
    tape, plain = Tape(2, 0), Replay(frames=64, memory=2**20, worlds=2)
    plain.insert(tape.rollout(6))
    plain.save(LocalFileSystem(), str(tmp_path / "replay"))
    replay = Replay(frames=64, memory=2**20, worlds=2, priority=0.6)
    replay.load(LocalFileSystem(), str(tmp_path / "replay"))
    assert replay.priorities is not None
    assert set(np.unique(replay.priorities.shares)) == {0.0, 1.0}
    replay.insert(tape.rollout(6))
    assert len(replay.sample(50, gamma=GAMMA, steps=1, rng=np.random.default_rng(0))["team"][OBS]) == 50
