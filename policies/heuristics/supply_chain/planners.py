"""Planners: each step a linear program of the coming steps is solved with what agents know, and its start is played.

They see what the agents see, of all nodes at once: stock, what is on its way, forecasts, and disruptions where there is
an alarm; and they know the network and how long a disruption lasts on average, as who trained on it does.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.supply_chain.config import SupplyTask
from envs.supply_chain.plan import Floats, Plan
from policies.base import PolicyState
from policies.heuristics.supply_chain.levels import Insider
from policies.heuristics.supply_chain.program import Courses, FlowProgram, Start
from policies.heuristics.supply_chain.safety_stocks import critical_ratio

SETTLED = 4
"""First steps in which a plan for scenarios sends the same in all: were it one, all would be known from the next on,
and nothing kept for what may come."""
BEYOND = 4
"""How many steps further than its longest path from outside to a customer a plan looks."""


class RollingPlan(Insider):
    """Rolling horizon: plans for expected demand and mean lead times, or for scenarios drawn from the forecasts.

    With expected demand shops keep a safety stock by the newsvendor's rule, of which the plan knows nothing else. With
    scenarios the plan finds by itself what to keep; orders of this step are the same in all of them.

    Args:
        scenarios: Scenarios; 0 plans for expected demand.
        seed: Seed of the scenarios.
    """

    def __init__(self, scenarios: int = 0, seed: int = 0) -> None:
        self.scenarios, self._seed = scenarios, seed
        self.name = "scenario_lp" if scenarios else "rolling_lp"

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        super().bind(env)
        self._programs: dict[SupplyTask, tuple[FlowProgram, Floats]] = {}
        self._rng = np.random.default_rng(self._seed)

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The actions that order what the plans send first."""
        env = self._env
        orders = np.stack([self._planned(world) for world in range(env.num_worlds)])
        return env.actions_for(env.levels_for(orders)), None

    def _planned(self, world: int) -> Floats:
        """What a world's nodes should order, `[S]`."""
        env, task = self._env, cast(SupplyTask, self._env.tasks[world])
        if task not in self._programs:
            self._programs[task] = self._program(task)
        program, safety = self._programs[task]
        plan, flows = env.plan_of(task), env.flows
        stock = flows.on_hand()[world]
        deviation = np.sqrt(env.forecasts.variance[world])
        kept = safety * deviation
        start = Start(
            np.maximum(stock - kept, 0.0),
            flows.transit[:, :, world].sum(axis=1).T,
            flows.backlog[world] + np.maximum(kept - stock, 0.0),
        )
        _, sent = program.solve(start, self._courses(world, task, program.steps))
        return np.maximum(sent - flows.open[world], 0.0) * plan.way

    def _program(self, task: SupplyTask) -> tuple[FlowProgram, Floats]:
        """The program of a task, and what customers' cells keep [standard deviations of a step's demand], `[M]`."""
        env = self._env
        plan = env.plan_of(task)
        steps = longest_path(plan) + BEYOND
        shape = (max(self.scenarios, 1), steps, len(plan.way))
        if self.scenarios:
            lead = self._rng.integers(plan.shortest, plan.longest + 1, shape)
        else:
            lead = np.broadcast_to(-(-(plan.shortest + plan.longest) // 2), shape)
        program = FlowProgram(
            plan,
            lead,
            np.broadcast_to(plan.good, shape),
            service=task.service,
            carbon=task.carbon,
            valued=task.valued,
            settled=SETTLED if self.scenarios else 1,
        )
        safety = np.zeros(len(plan.cell) + 1)
        if not self.scenarios:
            mean = (plan.shortest + plan.longest) / 2
            np.maximum.at(safety, plan.target, critical_ratio(env, task) * np.sqrt(mean))
        return program, safety[:-1] * plan.sold

    def _courses(self, world: int, task: SupplyTask, steps: int) -> Courses:
        """What may come, as far as one can know."""
        env, wrong = self._env, task.disruptions
        mean, variance = env.forecasts.mean[world], env.forecasts.variance[world]
        plan = env.plan_of(task)
        shape = (max(self.scenarios, 1), steps, len(mean))
        if self.scenarios:
            shown = np.where(plan.sold, mean, 0.0)
            scale = np.where(shown > 0, variance / np.where(shown > 0, shown, 1.0), 0.0)
            form = np.where(scale > 0, shown / np.where(scale > 0, scale, 1.0), 0.0)
            demand = np.where(scale > 0, self._rng.gamma(form, scale, shape), shown)
        else:
            demand = np.broadcast_to(np.where(plan.sold, mean, 0.0), shape)
        shut = np.zeros((*shape[:2], len(plan.way)), np.bool_)
        strength = np.ones((*shape[:2], len(plan.node)))
        if wrong.alarm:
            now = env.future.luck(env.clock)
            shut[:, 0] = now.shut[world]
            if wrong.nodes is not None:
                stays = (1 - 1 / wrong.nodes.length) ** np.arange(steps)
                strength -= stays[:, None] * (1 - now.strength[world])
        return Courses(demand, shut, strength)


def longest_path(plan: Plan) -> int:
    """The longest time from an order outside to a customer [steps]."""
    reached = np.zeros(len(plan.cell) + 1, np.int64)
    for way in np.flatnonzero(plan.way):  # ways come upstream first, what a node makes after its lanes
        from_cells = [plan.source[way], *plan.parts[way]]
        begin = max(int(reached[cell]) for cell in from_cells)
        reached[plan.target[way]] = max(reached[plan.target[way]], begin + plan.longest[way])
    return int(reached[:-1].max())
