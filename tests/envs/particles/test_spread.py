"""Tests of covering landmarks: mpe2's own env beside it, the contract, and what figures mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.mpe2_check import Mpe2Worlds
from envs.contract import check_env
from envs.particles import DOMAIN, SpreadConfig, SpreadEnv, SpreadTask
from envs.sampling import random_actions
from envs.spreads import Spread

GROUP = SpreadEnv.GROUP


def crowded(config: SpreadConfig, worlds: int, task: SpreadTask) -> SpreadEnv:
    """Worlds in which agents begin so close to each other that many touch."""
    env = SpreadEnv(config, worlds, task=task)
    env.reset(7)
    state = env.get_state()
    state["domain"]["particles"]["positions"] *= 0.4
    env.set_state(state)
    return env


@pytest.mark.parametrize("local_ratio", [0.5, 0.2])
@pytest.mark.parametrize("agents", [3, 5])
@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_it_is_mpe2s_env_step_by_step(mode: str, agents: int, local_ratio: float) -> None:
    """From the same places, under the same actions, all that is seen and earned is the same, to rounding."""
    config = SpreadConfig.model_validate({"num_agents": agents, "action_mode": mode})
    task = SpreadTask(local_ratio=local_ratio)
    env = crowded(config, 4, task)
    theirs = Mpe2Worlds(config, task, 4)
    theirs.place(env.particles.positions, env.landmarks)
    seen, rng, touched = env.observe(), np.random.default_rng(0), 0
    for number in range(task.max_steps):
        expected = theirs.observe()
        np.testing.assert_allclose(seen.observations[GROUP], expected.observations[GROUP], atol=1e-5)
        np.testing.assert_allclose(seen.state, expected.state, atol=1e-5)
        actions = random_actions(env.groups, seen, rng)
        step = env.step(actions)
        np.testing.assert_allclose(step.rewards[GROUP], theirs.step(actions[GROUP]), atol=1e-5)
        touched += int(env.particles.touching().sum())
        seen = step.observation
        assert (step.final is not None) == (number == task.max_steps - 1)
    assert touched > 10
    assert step.final is not None
    np.testing.assert_allclose(
        step.final.observation.observations[GROUP], theirs.observe().observations[GROUP], atol=1e-5
    )


SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one agent": ({"num_agents": 1}, {}),
    "two, reward of the team": ({"num_agents": 2, "team_weight": 1.0}, {"local_ratio": 1.0}),
    "twelve": ({"num_agents": 12, "action_mode": "discrete"}, {}),
    "ratios drawn": ({}, {"drawn": (Spread(field="local_ratio", low=0.1, high=0.9),)}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_keeps_the_contract(shape: str) -> None:
    """Spaces, seeding, batches, state, endings and rejected actions are as the contract says."""
    config, task = SHAPES[shape]
    check_env(
        lambda b, k: DOMAIN.env(config, b, task=SpreadTask(max_steps=8, **task), first_world=k), worlds=3, steps=20
    )


def test_what_is_seen_has_the_names_it_has() -> None:
    """Landmarks and others are relative to oneself, others in their order; nobody says anything."""
    env = SpreadEnv(SpreadConfig(num_agents=3), 2)
    seen = env.reset(1).observations[GROUP]
    env.step(random_actions(env.groups, env.observe(), np.random.default_rng(0)))
    names = env.groups[GROUP].layout.names
    assert len(names) == seen.shape[2] == 18

    def feature(name: str, world: int, agent: int) -> float:
        return float(seen[world, agent, names.index(name)])

    places, marks, moving = env.particles.positions, env.landmarks, env.particles.velocities
    assert np.abs(moving).max() > 0
    for axis, letter in enumerate("xy"):
        assert feature(f"position_{letter}", 1, 2) == pytest.approx(places[1, 2, axis])
        assert feature(f"velocity_{letter}", 1, 2) == pytest.approx(moving[1, 2, axis])
        assert feature(f"landmark_1_{letter}", 0, 2) == pytest.approx(marks[0, 1, axis] - places[0, 2, axis])
        assert feature(f"other_1_{letter}", 0, 1) == pytest.approx(places[0, 2, axis] - places[0, 1, axis])
    assert not any(feature(name, 1, 0) for name in names if "says" in name)


@pytest.mark.parametrize("local_ratio", [0.0, 0.3, 1.0])
def test_the_teams_return_is_made_of_the_other_figures(local_ratio: float) -> None:
    """`S = -N T ((1 - ratio) N distance) - 2 ratio collisions`: each pair that touches costs both."""
    task = SpreadTask(local_ratio=local_ratio)
    env = crowded(SpreadConfig(num_agents=4, team_weight=0.5), 5, task)
    seen, rng = env.observe(), np.random.default_rng(0)
    for _ in range(task.max_steps):
        step = env.step(random_actions(env.groups, seen, rng))
    assert step.final is not None
    figures = step.final.metrics
    assert (figures["collisions"] > 0).all()
    far = 4 * task.max_steps * 4 * figures["landmark_distance"]
    expected = -(1 - local_ratio) * far - 2 * local_ratio * figures["collisions"]
    np.testing.assert_allclose(figures["team_return"], expected, rtol=1e-6)
    np.testing.assert_allclose(figures["team_return"], 4 * step.final.mean_returns(), rtol=1e-9)


def test_everybody_begins_anywhere_in_the_square() -> None:
    """Agents and landmarks are uniform over the square from -1 to 1, and at rest."""
    env = SpreadEnv(SpreadConfig(), 500)
    env.reset(0)
    for places in (env.particles.positions, env.landmarks):
        assert np.abs(places).max() <= 1
        assert np.abs(places.mean(axis=(0, 1))).max() < 0.06
        np.testing.assert_allclose(places.var(axis=(0, 1)), 1 / 3, atol=0.03)
    assert not env.particles.velocities.any()
