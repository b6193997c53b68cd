"""Tests of playing whole episodes, against returns known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from envs.base import Actions, BatchedEnv, Observation
from envs.cue import CueConfig, CueEnv, CueTask
from envs.registry import get_domain
from policies.base import Policy, PolicyState, RandomPolicy
from policies.heuristics.cue import RepeatCue
from policies.rollout import play

GROUP = CueEnv.GROUP


def _env(worlds: int = 3, **fields: object) -> CueEnv:
    return CueEnv(CueConfig.model_validate(fields), worlds)


def test_a_perfect_policy_earns_the_length_of_every_episode() -> None:
    """Repeating the cue for max_steps steps earns max_steps, in every world and episode."""
    episodes = play(_env(), RepeatCue(), CueTask(max_steps=7), episodes_per_world=2)
    np.testing.assert_allclose(episodes.returns, np.full(6, 7.0))
    np.testing.assert_array_equal(episodes.lengths, np.full(6, 7))


def test_agents_are_told_apart() -> None:
    """Each agent's return is its life; those who take no part are NaN and not in the mean."""
    task = CueTask(max_steps=6, lifetimes=(2, 0), agents=2)
    episodes = play(_env(2, num_agents=3), RepeatCue(), task)
    np.testing.assert_allclose(episodes.agent_returns[GROUP], [[2, 6, np.nan]] * 2)
    np.testing.assert_allclose(episodes.returns, [4.0, 4.0])


class _Watched(CueEnv):
    """Measures a figure that tells worlds and episodes apart, and ends worlds at different times."""

    def _metrics(self, worlds: np.ndarray) -> dict[str, np.ndarray]:
        return {"key": worlds * 100.0 + self._ledger.episodes[worlds], "length": self.clock[worlds].astype(float)}

    def _begin(self, worlds: np.ndarray) -> None:
        super()._begin(worlds)
        self._ledger.limits[worlds] = 2 + worlds  # slower worlds play fewer episodes in the same time


def test_rows_are_by_world_and_then_by_episode() -> None:
    """Fast worlds play on while slow ones finish, but exactly the first episodes of each count, in order."""
    episodes = play(_Watched(CueConfig(), 3), RepeatCue(), CueTask(), episodes_per_world=3)
    np.testing.assert_array_equal(episodes.metrics["key"], [0, 1, 2, 100, 101, 102, 200, 201, 202])
    np.testing.assert_array_equal(episodes.lengths, np.repeat([2, 3, 4], 3))
    np.testing.assert_array_equal(episodes.metrics["length"], episodes.lengths)
    np.testing.assert_allclose(episodes.returns, episodes.lengths)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_the_seed_decides_everything(mode: str) -> None:
    """The same seed gives the same returns to the bit, also in an env used before; another seed does not."""
    env = _env(4, action_mode=mode)
    first, again, other = (play(env, RandomPolicy(), CueTask(), seed=seed).returns for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


class _Recorder(Policy):
    """Does nothing, and writes down the cues of the first step of every episode."""

    def __init__(self) -> None:
        self.cues: list[np.ndarray] = []

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        assert isinstance(env, CueEnv)
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Consumes randomness, and all zeros."""
        rng.random(17)
        self.cues.append(self._env.cues.copy())
        return {GROUP: np.zeros_like(self._env.cues)}, None


def test_policies_meet_the_same_worlds() -> None:
    """Whatever a policy draws for itself, the worlds it meets depend on the seed alone: returns can be paired."""
    met = []
    for draws in (1, 3):
        policy = _Recorder()
        for _ in range(draws):
            policy.cues.clear()
            play(_env(), policy, CueTask(max_steps=5), seed=8)
        met.append(np.stack(policy.cues))
    np.testing.assert_array_equal(met[0], met[1])


class _Counter(Policy):
    """Counts its calls in the state it is handed back."""

    counts: list[int]

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        self._env, self.counts = env, []

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Passes the count on."""
        self.counts.append(0 if state is None else state)
        assert deterministic
        assert isinstance(self._env, CueEnv)
        return self._env.perfect_actions(), self.counts[-1] + 1


def test_state_is_carried_and_begins_empty() -> None:
    """A policy gets None first, then what it returned last; a second rollout begins anew."""
    policy = _Counter()
    for _ in range(2):
        play(_env(), policy, CueTask(max_steps=4))
        assert policy.counts == [0, 1, 2, 3]


def test_random_play_of_trading_is_finite() -> None:
    """Episodes of the main domain have a return, a length and figures for every world."""
    env = get_domain("trading").env(num_worlds=3)
    task = env.tasks[0].model_copy(update={"max_steps": 15})
    episodes = play(env, RandomPolicy(), task, episodes_per_world=2)
    assert episodes.returns.shape == (6,)
    assert np.isfinite(episodes.returns).all()
    assert all(figures.shape == (6,) and np.isfinite(figures).all() for figures in episodes.metrics.values())
    assert episodes.metrics
