"""Tests of the rules that cover landmarks: what they do, and what they earn beside figures found elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpe2 import simple_spread_v3
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from envs.particles import SpreadConfig, SpreadEnv, SpreadTask
from envs.registry import get_domain
from policies.heuristics.spread import (
    BASELINES,
    GLIDE,
    IMPULSE,
    Assignment,
    continuous_move,
    discrete_move,
    shortest_assignment,
)
from policies.rollout import play


@given(seed=st.integers(0, 10**6), count=st.integers(1, 6))
def test_no_assignment_is_shorter(seed: int, count: int) -> None:
    """Everybody has a landmark alone, and all ways together are as short as the Hungarian method says."""
    distances = np.random.default_rng(seed).uniform(0, 2, (3, count, count))
    found = shortest_assignment(distances)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(count), (3, 1)))
    for world, mine in zip(distances, found, strict=True):
        rows, columns = linear_sum_assignment(world)
        assert world[np.arange(count), mine].sum() == pytest.approx(world[rows, columns].sum())


def test_a_push_goes_where_most_is_missing() -> None:
    """Left, right, down and up by their numbers; what a push would overshoot by more is left; forces are in bounds."""
    missing = np.array(
        [[-1.0, 0.1], [1.0, -0.1], [0.1, -1.0], [0.3, 1.0], [0.45 * IMPULSE, 0.0], [0.0, 0.55 * IMPULSE]]
    )
    np.testing.assert_array_equal(discrete_move(missing)[:, 0], [1, 2, 3, 4, 0, 4])
    np.testing.assert_allclose(continuous_move(missing[[0, 4]]), [[-1, 0.1 / IMPULSE], [0.45, 0]], rtol=1e-6)


def test_it_comes_to_rest_on_its_landmark() -> None:
    """Alone, an agent is on its landmark after a while, and stays there; where it glides to is known beforehand."""
    env = SpreadEnv(SpreadConfig(num_agents=1), 20, task=SpreadTask(max_steps=80))
    seen, rule, rng = env.reset(0), Assignment(), np.random.default_rng(0)
    rule.bind(env)
    for _ in range(60):
        actions, _ = rule.act(seen, None, deterministic=True, rng=rng)
        seen = env.step(actions).observation
    np.testing.assert_allclose(env.particles.positions, env.landmarks, atol=1e-3)
    assert np.abs(GLIDE * env.particles.velocities).max() < 1e-3


@pytest.fixture(scope="module")
def seeded() -> NDArray[np.float64]:
    """Where agents and landmarks begin under mpe2's seeds 0 to 399, `[400, 6, 2]`."""
    env = simple_spread_v3.parallel_env()
    places = []
    for seed in range(400):
        env.reset(seed=seed)
        places.append([entity.state.p_pos for entity in env.unwrapped.world.entities])
    return np.array(places)


@pytest.mark.parametrize(
    ("name", "elsewhere", "margin"), [("stay", -75.6, 0.05), ("random", -80.5, 2.3), ("assignment", -26.2, 1.0)]
)
def test_they_earn_what_was_measured_in_mpe2(
    name: str, elsewhere: float, margin: float, seeded: NDArray[np.float64]
) -> None:
    """The mean over mpe2's first 400 seeds is that found elsewhere: to its last digit where nobody moves by himself."""
    env = SpreadEnv(SpreadConfig(action_mode="discrete"), len(seeded))
    env.reset(0)
    state = env.get_state()
    state["domain"]["particles"]["positions"], state["domain"]["landmarks"] = seeded[:, :3], seeded[:, 3:]
    env.set_state(state)
    policy, seen, rng = BASELINES.policies[name](), env.observe(), np.random.default_rng(0)
    policy.bind(env)
    for _ in range(25):
        actions, _ = policy.act(seen, None, deterministic=True, rng=rng)
        step = env.step(actions)
        seen = step.observation
    assert step.final is not None
    assert step.final.metrics["team_return"].mean() == pytest.approx(elsewhere, abs=margin)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_the_informed_rule_beats_the_naive_one_in_any_team(mode: str) -> None:
    """With two agents and with six, in every tenth of the worlds but few."""
    for agents in (2, 6):
        env = SpreadEnv(SpreadConfig.model_validate({"num_agents": agents, "action_mode": mode}), 60)
        naive, informed = (
            play(env, BASELINES.policies[each](), SpreadTask(), seed=2).returns
            for each in (BASELINES.naive, BASELINES.informed)
        )
        assert (informed > naive).mean() > 0.9


def test_a_rule_wants_this_env() -> None:
    """Another env is one line."""
    with pytest.raises(TypeError, match="env: got CueEnv, allowed is SpreadEnv"):
        Assignment().bind(get_domain("cue").env({}, 1))
