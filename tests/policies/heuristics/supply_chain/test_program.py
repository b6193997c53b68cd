"""Tests of the linear programs: what they promise, the env's own flows pay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.base import Actions, Observation
from envs.supply_chain import SupplyChainEnv, SupplyConfig, SupplyTask
from envs.supply_chain.disruptions import Disruptions, Outage
from policies.base import Policy, PolicyState
from policies.heuristics.supply_chain import RULES, hindsight
from policies.heuristics.supply_chain.hindsight import MEMORY, bound
from policies.heuristics.supply_chain.planners import RollingPlan, longest_path
from policies.heuristics.supply_chain.program import Courses, FlowProgram, Start
from policies.rollout import play

OUTAGES = Disruptions(nodes=Outage(chance=0.1, length=3, strength=0.5))


class Prophet(Policy):
    """Solves for the whole rest of the episode, knowing all that comes, and plays the start of it."""

    name = "prophet"

    def bind(self, env: Any) -> None:
        """Keeps the env."""
        self.env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Orders what is to be sent now."""
        env = self.env
        return env.actions_for(env.levels_for(np.stack([self.orders(world) for world in range(env.num_worlds)]))), None

    def orders(self, world: int) -> Any:
        """What is to be sent now."""
        env, task = self.env, self.env.tasks[world]
        rest = slice(int(env.clock[world]), task.max_steps)
        future, flows = env.future, env.flows
        program = FlowProgram(
            env.plan_of(task),
            future.lead[None, world, rest],
            future.good[None, world, rest],
            service=task.service,
            valued=task.valued,
        )
        start = Start(flows.on_hand()[world], flows.transit[:, :, world].sum(axis=1).T, flows.backlog[world])
        courses = Courses(
            future.demand[None, world, rest], future.shut[None, world, rest], future.strength[None, world, rest]
        )
        sent: Any = program.solve(start, courses)[1]
        return np.maximum(sent - flows.open[world], 0.0)


@pytest.mark.parametrize(
    ("network", "task"),
    [
        ("serial", SupplyTask(max_steps=15)),
        ("beer_game", SupplyTask(max_steps=15, service=3.0)),
        ("stage_1", SupplyTask(max_steps=12, disruptions=OUTAGES)),
        ("stage_1", SupplyTask(max_steps=12, valued=0.0)),
    ],
)  # fmt: skip
def test_a_prophet_earns_the_bound_and_nobody_more(network: str, task: SupplyTask) -> None:
    """Who plays the program's own orders gets what it promised, but for order fees; all rules get less."""
    env = SupplyChainEnv(SupplyConfig(networks=(network,), reach=20.0), 2, task=task)
    env.reset(3)
    most = hindsight.hindsight(env, range(2))
    reached = play(env, Prophet(), task, seed=3)
    fees = reached.metrics["objective_order"]
    np.testing.assert_allclose(reached.returns - fees, most, rtol=2e-3, atol=2e-3)
    for name in ("as_sold", "newsvendor", "sterman"):
        assert (play(env, RULES[name](), task, seed=3).returns <= most + 1e-6).all()


def test_bounds_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it comes from the user's file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    env, task = SupplyChainEnv(SupplyConfig(), 1), SupplyTask(max_steps=6)
    first = bound(env, task)
    assert (tmp_path / "entrepot" / "bounds.json").is_file()
    monkeypatch.setattr(hindsight, "bounds", lambda *_: pytest.fail("it was remembered"))
    assert bound(env, task) == first
    assert MEMORY.recall(SupplyConfig(), SupplyTask(max_steps=7)) is None


@pytest.mark.parametrize("scenarios", [0, 4])
def test_planners_do_well_where_demand_is_known(scenarios: int) -> None:
    """In the classic beer game, demand steady but for one step, both beat whoever orders as people do."""
    task = SupplyTask(max_steps=20)
    env = SupplyChainEnv(SupplyConfig(networks=("beer_game",), reach=6.0), 1, task=task)
    plan, people = RollingPlan(scenarios), RULES["sterman"]()
    assert play(env, plan, task, seed=0).returns.mean() > play(env, people, task, seed=0).returns.mean()


def test_plans_look_beyond_the_longest_path() -> None:
    """Lead times add up along the network, making included."""
    env = SupplyChainEnv(SupplyConfig(networks=("beer_game",)), 1)
    assert longest_path(env.plan_of(SupplyTask())) == 3 + 4 + 4 + 4
