"""What nobody exceeds: the best that could have been done by a planner who knew from the beginning all that came.

A convex quadratic program of the whole episode: dispatch of each kind of generator, lost load, and what all batteries
of a kind take, give and hold. As costs are convex and batteries of a kind alike and charged alike at first, there is an
optimum in which they do the same, so that a kind is one large battery. Taking while load is lost is not forbidden, as
the simulator does, but does not pay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import cvxpy as cp
import numpy as np

from envs.base import BatchedEnv
from envs.resource_allocation.energy.config import EnergyConfig, EnergyTask
from envs.resource_allocation.energy.env import EnergyEnv
from envs.resource_allocation.energy.grid import Grid
from envs.resource_allocation.energy.plan import Floats

WORLDS, SEED = 48, 7_000_003
"""Worlds that the bound of a task is the mean of, and their seed, which is used nowhere else."""


@dataclass(frozen=True)
class Best:
    """The optimum of an episode.

    Attributes:
        saved: What batteries save, wear taken off and what they store counted [currency].
        taken, given: By each kind, `[K, T]` [MW].
        price: What a further megawatt-hour would cost, `[T]` [currency a MWh].
    """

    saved: float
    taken: Floats
    given: Floats
    price: Floats


class SocialProgram:
    """The program of one task, solved again and again for episodes.

    Args:
        env: Whose task.
        task: The task.
    """

    def __init__(self, env: EnergyEnv, task: EnergyTask) -> None:
        self._plan, grid, steps = env.plan_of(task), env.grid_of(task), task.max_steps
        kinds = len(grid.batteries)
        self._kinds, self._task = kinds, task
        plan, hours = self._plan, grid.hours
        self._net = cp.Parameter(steps)
        self._units = cp.Parameter((len(grid.generators), steps), nonneg=True)
        self._power, self._energy = cp.Parameter(kinds, nonneg=True), cp.Parameter(kinds, nonneg=True)
        self._taken, self._given = cp.Variable((kinds, steps), nonneg=True), cp.Variable((kinds, steps), nonneg=True)
        held = cp.Variable((kinds, steps + 1), nonneg=True)
        shed = cp.Variable(steps, nonneg=True)
        output, fuel, rules = self._dispatch(grid, task, steps)
        ones = np.ones((1, steps))
        power, energy = cp.reshape(self._power, (kinds, 1), order="C"), cp.reshape(self._energy, (kinds, 1), order="C")
        charging, discharging = plan.charging[:kinds, None], plan.discharging[:kinds, None]
        self._balance = (
            cp.sum(output, axis=0) + shed + cp.sum(self._given, axis=0) - cp.sum(self._taken, axis=0) >= self._net
        )
        rules += [
            self._balance,
            self._taken <= power @ ones,
            self._given <= power @ ones,
            held <= energy @ np.ones((1, steps + 1)),
            held[:, 0] == task.charged * self._energy,
            held[:, 1:]
            == held[:, :-1] + hours * (cp.multiply(self._taken, charging) - cp.multiply(self._given, 1 / discharging)),
        ]
        if np.isfinite(plan.connection):
            limit = float(plan.connection)
            rules += [cp.sum(self._taken, axis=0) <= limit, cp.sum(self._given, axis=0) <= limit]
        lost = float(plan.lost_load) * cp.sum(shed)
        wear = cp.sum(plan.wear[:kinds] @ self._given)
        kept = plan.worth[:kinds] @ (held[:, -1] - held[:, 0])
        self._problem = cp.Problem(cp.Minimize(hours * (fuel + lost + wear) - kept), rules)

    def _dispatch(self, grid: Grid, task: EnergyTask, steps: int) -> tuple[Any, Any, list[Any]]:
        """What kinds of generators give, `[G, T]`, what it costs, and what limits it."""
        units = list(grid.generators.values())
        linear = np.array([unit.linear + task.carbon_price * unit.carbon for unit in units])
        each = cp.Variable((len(units), steps))
        low, full, slope = (
            np.array([getattr(u, name) for u in units])[:, None] for name in ("minimum", "capacity", "quadratic")
        )
        fuel = cp.sum(cp.multiply(self._units, cp.multiply(linear[:, None], each) + cp.multiply(slope, each**2)))
        return cp.multiply(self._units, each), fuel, [each >= low, each <= full]

    def solve(self, env: EnergyEnv, world: int) -> Best:
        """The optimum of the episode that a world is at the beginning of."""
        future, plan, steps = env.future, self._plan, self._task.max_steps
        count = env.count_of(self._task)
        owned = np.bincount(future.kind[world, :count], minlength=self._kinds)[: self._kinds]
        self._net.value = future.demand[world, :steps] - future.given[world, :steps]
        running = future.running[world, 1 : steps + 1, : self._units.shape[0]].T
        self._units.value = running
        self._power.value, self._energy.value = owned * plan.power[: self._kinds], owned * plan.energy[: self._kinds]
        self._problem.solve(solver=cp.CLARABEL)
        grid = env.grid_of(self._task)
        fixed = sum(unit.fixed * running[g].sum() for g, unit in enumerate(grid.generators.values())) * grid.hours
        hours = float(plan.hours)
        without = _without(env, world, steps)
        saved = without - float(self._problem.value) - float(fixed)
        price = np.asarray(self._balance.dual_value) / hours
        return Best(saved, np.maximum(self._taken.value, 0.0), np.maximum(self._given.value, 0.0), price)


def _without(env: EnergyEnv, world: int, steps: int) -> float:
    """What an episode costs without batteries [currency]."""
    from envs.resource_allocation.energy.merit import Curve

    future, plan = env.future, env.plan_of(env.tasks[world])
    curve = Curve.of(plan, future.running[world, 1 : steps + 1])
    net = future.demand[world, :steps] - future.given[world, :steps]
    return float(curve.at(net[:, None]).cost.sum() * plan.hours)


def hindsight(env: EnergyEnv, worlds: range) -> Floats:
    """Returns that nobody exceeds in the episodes that some worlds are at the beginning of, mean over agents, `[E]`.

    Args:
        env: The env, reset; all worlds play the same task.
        worlds: Whose episodes.
    """
    task = cast(EnergyTask, env.tasks[worlds[0]])
    program, count = SocialProgram(env, task), env.count_of(task)
    return np.array([program.solve(env, world).saved / env.money[world] / count for world in worlds])


def bound(env: BatchedEnv, task: EnergyTask) -> float:
    """Mean return of an episode, over agents, that nobody exceeds on a task; the mean over `WORLDS` worlds."""
    assert isinstance(env, EnergyEnv)
    return task.system * _bound(
        env.config.model_dump_json(exclude={"action_mode", "team_weight"}), task.model_dump_json()
    )


@cache
def _bound(config: str, task: str) -> float:
    made = EnergyConfig.model_validate_json(config)
    env = EnergyEnv(made, WORLDS, task=EnergyTask.model_validate_json(task))
    env.reset(SEED)
    return float(hindsight(env, range(WORLDS)).mean())
