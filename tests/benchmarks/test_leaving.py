"""The benchmark of agents that leave early: its env keeps the contract, its yardsticks earn what theory says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.leaving import PROBLEMS, WAYS, bars_of
from benchmarks.leaving_env import BASELINES, DOMAIN, GROUP, LeavingConfig, LeavingTask
from envs.base import BatchedEnv
from envs.contract import check_env
from policies.rollout import play
from rllib_configs.overrides import load


def make(worlds: int, first_world: int = 0, **fields: Any) -> BatchedEnv:
    return DOMAIN.env(LeavingConfig(**fields), worlds, first_world=first_world)


def test_the_env_keeps_the_contract() -> None:
    """Agents that leave at different times, and a world cut off before the last of them has."""
    for lifetimes in ((3, 5, 9), (4, 30)):
        check_env(lambda b, k, lives=lifetimes: make(b, k, lifetimes=lives), steps=40)  # type: ignore[misc]


def test_following_costs_nothing_and_staying_a_third_a_step_and_axis() -> None:
    """A uniform target's mean square is 1/3; everybody pays it for as long as she is there."""
    env = make(400, lifetimes=(4, 8), scale=50.0)
    optimum = play(env, BASELINES.policies[BASELINES.informed](), LeavingTask())
    assert not optimum.returns.any()
    staying = play(env, BASELINES.policies[BASELINES.naive](), LeavingTask())
    expected = -50.0 * 2 / 3 * np.array([4, 8])
    np.testing.assert_allclose(staying.agent_returns[GROUP].mean(axis=0), expected, rtol=0.05)


def test_only_the_switch_differs_from_the_defaults() -> None:
    """What is measured is what a user gets: neither the learner nor the network is set otherwise."""
    for problem in PROBLEMS.values():
        assert {key.split(".")[0] for key in problem.values} <= {"stop", "evaluation", "env"}
        assert load(problem.domain, values=problem.values).network.normalise_values


@pytest.mark.parametrize(("least", "holds"), [(0.96, True), (0.94, False)])
def test_the_least_of_the_seeds_is_held_to_the_goal(least: float, holds: bool) -> None:
    """A single seed that falls short fails the bar, whatever the others score."""
    ways = {way: [{"score": score} for score in (0.99, least, 0.98)] for way in WAYS}
    bars = bars_of("leaving early", ways)
    assert bars[0].holds is holds
    assert [bar.holds for bar in bars[1:]] == [None, None]
