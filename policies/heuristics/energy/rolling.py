"""Planners that look ahead with the forecasts, act, and plan anew."""

from __future__ import annotations

from typing import cast

import numpy as np

from envs.base import BatchedEnv, IntArray
from envs.resource_allocation.energy.config import EnergyTask
from envs.resource_allocation.energy.plan import Floats
from envs.resource_allocation.energy.worth import Prices, Store, Values
from policies.base import PolicyState
from policies.heuristics.energy.rules import Trader

CELLS = 40
"""Into how many cells a battery's energy is divided."""
POINTS = 33
"""Powers of the fleet at which prices are tabulated."""


class Rolling(Trader):
    """The social planner's receding horizon: all batteries together, by expected prices and how they move.

    Batteries of a kind are one large one. Kinds plan in turn, each with what the others plan to do (block coordinate
    descent on a convex cost, which converges to the optimum as kinds meet in the sum of what they take only; Tseng
    2001), beginning with what was planned a step ago. A connection limits each kind, and all of them only when it cuts.

    Args:
        rounds: How often each kind plans in a step.
    """

    name = "rolling"
    moves = True
    """Whether it reckons with how much the fleet moves the price."""

    def __init__(self, rounds: int = 1) -> None:
        self._rounds = rounds

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env, and forgets all plans."""
        super().bind(env)
        size = self._env.size
        self._plans = np.zeros((env.num_worlds, self._env.config.horizon, size.kinds))

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """Plans of episodes that have ended are forgotten."""
        self._plans[worlds] = 0.0
        return state

    def asked(self) -> Floats:
        """The first step of each kind's plan, each battery its part."""
        env = self._env
        self._plans[:, :-1] = self._plans[:, 1:]
        self._plans[:, -1] = 0.0
        own, kind = env.batteries, np.where(env.batteries.power > 0, env.future.kind, -1)
        prices = self._prices(own.power.sum(axis=1))
        limits = np.array([cast(EnergyTask, task).max_steps for task in env.tasks])
        end = limits - env.clock
        asked = np.zeros(own.power.shape)
        for _ in range(self._rounds):
            for k in range(env.size.kinds):
                these = kind == k
                store = self._together(k, these)
                others = self._plans.sum(axis=2) - self._plans[:, :, k]
                if not self.moves:
                    others = np.zeros_like(others)
                self._plans[:, :, k] = Values(store, prices, others, env.plan.hours, end, CELLS).plan()
        for k in range(env.size.kinds):
            these = kind == k
            now = self._plans[:, 0, k]
            room, supply = own.room(env.plan.hours) * these, own.supply(env.plan.hours) * these
            part = np.where((now > 0)[:, None], room, supply)
            total = part.sum(axis=1)
            asked += part * (now / np.where(total > 0, total, 1.0))[:, None]
        return asked

    def _together(self, k: int, these: Floats) -> Store:
        """All batteries of a kind as one."""
        env, own = self._env, self._env.batteries
        power, energy, stored = ((array * these).sum(axis=1) for array in (own.power, own.energy, own.stored))
        power, plan = np.minimum(power, env.plan.connection), env.plan
        kind = (plan.charging[:, k], plan.discharging[:, k], plan.wear[:, k], plan.worth[:, k])
        return Store(power, energy, *kind, stored)

    def _prices(self, most: Floats) -> Prices:
        """Expected prices where the fleet takes so much, of each step ahead."""
        return self._env.outlook().prices(most, POINTS, moves=self.moves)


class PriceTaker(Rolling):
    """Each battery plans for itself with the expected prices, as if it did not move them, nor did anybody else."""

    name = "price_taker"
    moves = False
