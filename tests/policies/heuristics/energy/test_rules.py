"""Tests of the rules: each does what its name says, and planning for all together earns most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.resource_allocation.energy import EnergyConfig, EnergyEnv, EnergyTask
from envs.resource_allocation.energy.worth import Prices, Store, Values
from policies.heuristics.energy import BASELINES
from policies.heuristics.energy.hindsight import hindsight
from policies.heuristics.energy.rolling import Rolling
from policies.rollout import play

HERE = {"batteries": 20, "max_steps": 18}


def earned(task: EnergyTask, worlds: int = 8) -> dict[str, float]:
    """Mean returns of all rules in the same worlds."""
    env = EnergyEnv(EnergyConfig(), worlds, task=task)
    return {name: float(play(env, make(), task, seed=5).returns.mean()) for name, make in BASELINES.policies.items()}


@pytest.mark.parametrize("more", [{"uncertainty": 0.0}, {"renewables": 2.0, "size": 2.0}])
def test_planning_together_earns_most(more: dict[str, Any]) -> None:
    """More than to plan as if alone, which herds, and that more than fixed hours, and that more than nothing."""
    found = earned(EnergyTask(**HERE, **more))
    assert found["idle"] == 0.0
    assert found["rolling"] > 1.03 * found["price_taker"]
    assert found["price_taker"] > 1.1 * found["arbitrage"]
    assert found["arbitrage"] > 0.0


def test_a_price_taker_is_right_where_it_is_small() -> None:
    """One that moves no price and knows what comes does as well as the bound, within 1%."""
    task = EnergyTask(max_steps=30, size=0.001, uncertainty=0.0)
    env = EnergyEnv(EnergyConfig(), 4, task=task)
    env.reset(5)
    most = hindsight(env, range(4)).mean()
    for name in ("price_taker", "rolling"):
        assert play(env, BASELINES.policies[name](), task, seed=5).returns.mean() == pytest.approx(most, rel=0.01)


def test_a_plan_buys_and_sells_the_best_hours() -> None:
    """Full power in the cheapest and dearest hour where the price does not move; where it does, spread evenly."""
    one, none = np.ones(1), np.zeros(1)
    store = Store(4 * one, 4 * one, one, one, none, none, none)
    flat = Prices(np.array([[30.0, 20.0, 10.0, 60.0, 50.0]])[..., None].repeat(2, axis=2), -8 * one, 16 * one)
    plan = Values(store, flat, np.zeros((1, 5)), one, np.array([5]), 40).plan()
    np.testing.assert_allclose(plan, [[0, 0, 4, -4, 0]], atol=1e-9)
    steep = np.array([10.0, 10.0, 60.0, 60.0])[:, None] + np.array([-40.0, 40.0])
    moved = Prices(steep[None], -8 * one, 16 * one)
    plan = Values(store, moved, np.zeros((1, 4)), one, np.array([4]), 40).plan()
    np.testing.assert_allclose(plan, [[2, 2, -2, -2]], atol=0.11)
    # Two steps from the end what comes after counts nothing, and what is left is sold.
    full = Store(4 * one, 4 * one, one, one, none, none, 4 * one)
    plan = Values(full, flat, np.zeros((1, 5)), one, np.array([2]), 40).plan()
    np.testing.assert_allclose(plan, [[-4, 0, 0, 0, 0]], atol=1e-9)


def test_a_world_is_planned_as_it_is_alone() -> None:
    """Beside others, in other tasks, the planner asks for the same."""
    tasks = [EnergyTask(max_steps=9, batteries=5), EnergyTask(max_steps=7, batteries=8, outages=2.0)]
    both = EnergyEnv(EnergyConfig(batteries=8), 2)
    both.set_tasks(tasks)
    together = Rolling()
    together.bind(both)
    both.reset(3)
    singles = []
    for world, task in enumerate(tasks):
        env = EnergyEnv(EnergyConfig(batteries=8), 1, task=task, first_world=world)
        rule = Rolling()
        rule.bind(env)
        env.reset(3)
        singles.append((env, rule))
    for _ in range(6):
        asked = together.asked()
        for world, (env, rule) in enumerate(singles):
            own = rule.asked()
            np.testing.assert_allclose(own[0], asked[world], atol=1e-9)
            env.step(env.actions_for(own))
        both.step(both.actions_for(asked))


def test_actions_say_what_a_rule_means() -> None:
    """In both modes, within what they can say."""
    for mode, near in (("continuous", 1e-5), ("discrete", 0.9)):
        env = EnergyEnv(EnergyConfig(action_mode=mode), 4)  # type: ignore[arg-type]
        rule = Rolling()
        rule.bind(env)
        env.reset(0)
        asked = rule.asked()
        np.testing.assert_allclose(env.asked(env.actions_for(asked)), asked, atol=near)


def test_other_envs_are_refused() -> None:
    """A rule of this domain says which env it is for."""
    with pytest.raises(TypeError, match="allowed is EnergyEnv"):
        next(iter(BASELINES.policies.values()))().bind(object())  # type: ignore[arg-type]
