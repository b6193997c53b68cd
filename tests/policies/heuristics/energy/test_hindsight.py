"""Tests of the bound: it is what the simulator pays its plan, nobody exceeds it, and its duals are prices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from envs.resource_allocation.energy import EnergyConfig, EnergyEnv, EnergyTask, load_grid
from envs.resource_allocation.energy.merit import Curve
from policies.base import RandomPolicy
from policies.heuristics.energy import BASELINES
from policies.heuristics.energy.hindsight import SocialProgram, bound, hindsight
from policies.rollout import play

TASKS = [
    EnergyTask(max_steps=24, uncertainty=0.0),
    EnergyTask(max_steps=24, renewables=2.5, outages=2.0, carbon_price=0.05, charged=0.2),
]


def begun(task: EnergyTask, worlds: int = 3) -> EnergyEnv:
    """Worlds at the beginning of their episodes."""
    env = EnergyEnv(EnergyConfig(batteries=10), worlds, task=task)
    env.reset(4)
    return env


@pytest.mark.parametrize("task", TASKS)
def test_its_plan_costs_in_the_simulator_what_it_says(task: EnergyTask) -> None:
    """Each battery does its part of its kind's plan, and the system saves what the program saves, at its prices."""
    env = begun(task)
    program, steps, money = SocialProgram(env, task), task.max_steps, env.money.copy()
    plans = [program.solve(env, world) for world in range(3)]
    kind = env.future.kind.copy()
    many = np.stack([np.bincount(own, minlength=3) for own in kind])
    for step in range(steps):
        each = np.stack([(plan.taken - plan.given)[:, step] for plan in plans]) / np.maximum(many, 1)
        paid = env.step(env.actions_for(np.take_along_axis(each, kind, axis=1)))
        if paid.final is None:
            dual = np.array([plan.price[step] for plan in plans])
            # Where demand lies in a corner of the supply curve every price between two is a dual.
            near = Curve.of(env.plan, env.future.running[:, step + 1])
            net = env.future.demand[:, step] - env.future.given[:, step] + (env.taken - env.given).sum(axis=1)
            low, high = near.prices(net[:, None] + np.array([-0.5, 0.5])).T
            assert (dual > low - 0.1).all()
            assert (dual < high + 0.1).all()
    assert paid.final is not None
    said = np.array([plan.saved for plan in plans])
    np.testing.assert_allclose(paid.final.mean_returns() * money * 10, said, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_nobody_exceeds_it(task: EnergyTask) -> None:
    """No rule, nor anybody at random, in no world; and where all is known the planner comes within 1%."""
    env = begun(task, 8)
    most = hindsight(env, range(8))
    makers = {**BASELINES.policies, "random": RandomPolicy}
    earned = {name: play(env, make(), task, seed=4).returns for name, make in makers.items()}
    for name, returns in earned.items():
        assert (returns <= most + 1e-4).all(), name
    if task.uncertainty == 0:
        assert earned["rolling"].mean() > 0.99 * most.mean()


def test_a_connection_limits_the_bound_too(tmp_path: Path) -> None:
    """Where batteries share a line less can be saved, nobody saves more than the bound, and the planner nearly that."""
    path = tmp_path / "narrow.yaml"
    path.write_text(json.dumps(load_grid("island").model_dump() | {"name": "narrow", "connection": 25.0}))
    task = EnergyTask(max_steps=24, uncertainty=0.0, grid="narrow")
    env = EnergyEnv(EnergyConfig(batteries=10, grids=("island", str(path))), 3, task=task)
    env.reset(4)
    narrow = hindsight(env, range(3))
    earned = play(env, BASELINES.policies["rolling"](), task, seed=4).returns
    assert (narrow < hindsight(begun(TASKS[0]), range(3))).all()
    assert (earned <= narrow + 1e-4).all()
    assert earned.mean() > 0.9 * narrow.mean()


def test_the_bound_of_a_task_is_a_mean_over_worlds() -> None:
    """It is weighed as the task says, and does not depend on how actions are written."""
    task = EnergyTask(max_steps=6, batteries=3)
    envs = [EnergyEnv(EnergyConfig(batteries=5, action_mode=mode), 1, task=task) for mode in ("continuous", "discrete")]
    first, second = (bound(env, task) for env in envs)
    assert first == second > 0
    assert bound(envs[0], task.model_copy(update={"system": 2.0})) == pytest.approx(2 * first, rel=1e-6)
