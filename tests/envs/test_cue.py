"""Tests of the tiny env whose values are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.base import Actions
from envs.cue import DOMAIN, CueConfig, CueEnv, CueTask
from envs.sampling import random_actions

GROUP = CueEnv.GROUP


def _env(mode: str = "continuous", worlds: int = 2, task: CueTask | None = None, **fields: int) -> CueEnv:
    config = CueConfig.model_validate({"action_mode": mode, **fields})
    return CueEnv(config, worlds, task=task)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_repeating_the_cue_earns_one_a_step(mode: str) -> None:
    """A perfect agent earns exactly 1 in every step of its life."""
    env = _env(mode, task=CueTask(max_steps=6))
    env.reset(0)
    for _ in range(20):
        np.testing.assert_array_equal(env.step(env.perfect_actions()).rewards[GROUP], 1.0)


@given(gamma=st.floats(0.5, 0.99), steps=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_discounted_value_is_the_geometric_series(gamma: float, steps: int) -> None:
    """With n steps to live, a perfect agent is worth (1 - gamma^n) / (1 - gamma)."""
    env = _env(task=CueTask(max_steps=50, lifetimes=(steps, steps)))
    env.reset(1)
    value = 0.0
    for number in range(50):
        step = env.step(env.perfect_actions())
        value += gamma**number * float(step.rewards[GROUP][0, 0])
        if step.final is not None:
            break
    assert step.terminated[GROUP].all()
    assert not step.truncated.any()
    assert value == pytest.approx((1 - gamma**steps) / (1 - gamma), rel=1e-6)


def test_continuous_reward_is_the_documented_parabola() -> None:
    """A miss by d in every dimension costs d^2 / 4; dimensions out of play cost nothing."""
    env = _env(num_entities=3, task=CueTask(entities=2))
    env.reset(2)
    away = np.where(env.cues > 0, -0.5, 0.5).astype(np.float32)
    actions = env.cues + away
    actions[:, :, 2] = 1.0  # out of play
    np.testing.assert_allclose(env.step({GROUP: actions}).rewards[GROUP], 1 - 0.25 / 4, rtol=1e-6)


def test_discrete_reward_is_the_share_of_hits() -> None:
    """One hit and one miss in play earn a half; what is out of play does not count."""
    env = _env("discrete", num_entities=3, task=CueTask(entities=2))
    env.reset(2)
    actions = env.perfect_actions()[GROUP]
    actions[:, :, 1] = (actions[:, :, 1] + 1) % env.config.num_choices
    actions[:, :, 2] = 3
    np.testing.assert_array_equal(env.step({GROUP: actions}).rewards[GROUP], 0.5)


@pytest.mark.parametrize(("mode", "expected"), [("discrete", 1 / 4), ("continuous", 1 - (1 / 3 + 5 / 9) / 4)])
def test_acting_at_random_earns_what_chance_says(mode: str, expected: float) -> None:
    """A random choice hits one time in four; a uniform action misses by E[(a - c)^2] = 1/3 + E[c^2] = 1/3 + 5/9."""
    env = _env(mode, worlds=200, num_agents=4)
    rng = np.random.default_rng(0)
    observation = env.reset(3)
    earned = []
    for _ in range(25):
        step = env.step(random_actions(env.groups, observation, rng))
        observation = step.observation
        earned.append(step.rewards[GROUP])
    sample = np.stack(earned)
    assert sample.mean() == pytest.approx(expected, abs=5 * sample.std() / np.sqrt(sample.size))


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_what_is_seen_tells_the_best_action(mode: str) -> None:
    """The cue an agent sees is the action that earns 1, in the scale of the continuous mode."""
    env = _env(mode, num_entities=2)
    seen = env.reset(4)
    shown = env.groups[GROUP].layout.feature_of(seen.observations[GROUP], "cue")
    actions: Actions = {GROUP: shown} if mode == "continuous" else {GROUP: np.rint((shown + 1) * 1.5).astype(np.int64)}
    np.testing.assert_allclose(env.step(actions).rewards[GROUP], 1.0)


def test_entities_out_of_play_are_zero_and_masked() -> None:
    """What is not in play is zero in the table, in the mask of entities and in the mask of actions."""
    env = _env("discrete", num_entities=3, task=CueTask(entities=1))
    seen = env.reset(5)
    layout = env.groups[GROUP].layout
    assert not layout.entities_of(seen.observations[GROUP])[:, :, 1:].any()
    np.testing.assert_array_equal(layout.mask_of(seen.observations[GROUP])[0, 0], [1, 0, 0])
    np.testing.assert_array_equal(seen.action_masks[GROUP][0, 0], [True] * 4 + [True, False, False, False] * 2)


def test_age_is_the_share_of_the_episode_that_is_over() -> None:
    """The only own feature rises from 0 by 1 / max_steps a step, and is 1 at the end."""
    env = _env(worlds=1, task=CueTask(max_steps=4))
    ages = [env.reset(0).observations[GROUP][0, 0, 0]]
    for _ in range(4):
        step = env.step(env.perfect_actions())
        seen = step.observation if step.final is None else step.final.observation
        ages.append(seen.observations[GROUP][0, 0, 0])
    np.testing.assert_allclose(ages, [0, 0.25, 0.5, 0.75, 1])


@given(lifetimes=st.lists(st.integers(0, 9), max_size=3), limit=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_everyone_lives_as_long_as_the_task_says(lifetimes: list[int], limit: int) -> None:
    """Each agent earns min(lifetime, max_steps); the world ends with its last agent or in time, and says which."""
    env = _env(worlds=1, num_agents=3, task=CueTask(max_steps=limit, lifetimes=tuple(lifetimes)))
    env.reset(6)
    lives = [life or 99 for life in [*lifetimes, 0, 0, 0][:3]]
    for _ in range(limit):
        step = env.step(env.perfect_actions())
        if step.final is not None:
            break
    assert step.final is not None
    np.testing.assert_allclose(step.final.returns[GROUP][0], np.minimum(lives, limit))
    assert step.final.lengths[0] == min(limit, max(lives))
    assert bool(step.truncated[0]) == (max(lives) > limit)
    np.testing.assert_array_equal(step.final.observation.alive[GROUP][0], np.array(lives) > step.final.lengths[0])


@pytest.mark.parametrize(("task", "field"), [({"entities": 4}, "entities"), ({"agents": 3}, "agents")])
def test_a_task_that_does_not_fit_is_named(task: dict[str, int], field: str) -> None:
    """A task with more entities or agents than there are is refused at once, and when it is set."""
    with pytest.raises(ValueError, match=rf"^{field}: got {task[field]}, allowed is at most"):
        DOMAIN.env(task=task)
    with pytest.raises(ValueError, match=rf"^{field}: got {task[field]}, allowed is at most"):
        DOMAIN.env().set_tasks(CueTask.model_validate(task))
