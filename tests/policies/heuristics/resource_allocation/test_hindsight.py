"""Tests of the bound that nobody exceeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
from envs.synthetic.disruption import Disruption
from policies.heuristics.resource_allocation import RULES
from policies.heuristics.resource_allocation.hindsight import hindsight
from policies.rollout import play

HARD: dict[str, Any] = {
    "failures": Disruption(chance=0.05, length=5),
    "oversubscription": 1.3,
    "price": {"mean": 0.2, "cv": 0.3},
    "carbon": {"mean": 0.4},
    "carbon_price": 0.5,
}


@pytest.mark.parametrize(
    "task", [{"fairness": 0.0, "load": 1.5}, {"load": 0.7}, {"fairness": 0.3, "load": 1.2, **HARD}]
)
def test_nobody_exceeds_it(task: dict[str, Any]) -> None:
    """In no world, whatever goes wrong and whatever counts."""
    plays = AllocationTask(max_steps=30, tenants=4, **task)
    env = AllocationEnv(AllocationConfig(tenants=4), 4, task=plays)
    env.reset(3)
    bound = hindsight(env, range(4))
    for name in ("marginal_welfare", "everything", "deficit_round_robin"):
        assert (play(env, RULES[name](), plays, seed=3).returns <= bound + 1e-6).all()


def test_with_room_for_all_it_is_what_work_comes_to() -> None:
    """Nearly nothing to do: where no long job is cut off at the end, whoever asks for all earns nearly the bound."""
    plays = AllocationTask(max_steps=60, tenants=4, load=0.05, fairness=0.0)
    env = AllocationEnv(AllocationConfig(tenants=4, slots=16), 8, task=plays)
    env.reset(1)
    bound = hindsight(env, range(8))
    earned = play(env, RULES["everything"](), plays, seed=1).returns
    assert (earned > 0.999 * bound).sum() >= 7
    assert (earned <= bound * (1 + 1e-6)).all()


def test_of_services_it_is_the_largest_value_that_fits() -> None:
    """Jobs that never end: the optimum of a linear program a step, times the steps."""
    plays = AllocationTask(max_steps=5, load=3.0, fairness=0.0)
    env = AllocationEnv(AllocationConfig(clusters=("static",), slots=1), 2, task=plays)
    env.reset(0)
    whole = hindsight(env, range(2))
    short = AllocationTask(max_steps=1, load=3.0, fairness=0.0)
    env.set_tasks(short)
    env.reset(0)
    np.testing.assert_allclose(whole, 5 * hindsight(env, range(2)), rtol=1e-6)
