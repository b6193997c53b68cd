"""Rules that do not only order up to a level: with a fixed fee, where sales are lost, and as people do."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from envs.base import Actions, IntArray, Observation
from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.plan import Floats
from policies.base import PolicyState
from policies.heuristics.supply_chain.levels import Insider, Levels
from policies.heuristics.supply_chain.memory import alone
from policies.heuristics.supply_chain.safety_stocks import WORLDS, returns_of, tuned_levels

GAPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Economic order quantities between `s` and `S`, of which simulation picks one."""
CAPS = (1.0, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)
"""Largest orders [mean demand of a step], of which simulation picks one."""


class ReorderPoint(Levels):
    """(s, S): orders up to `S` where there is `s` or less, else nothing (Scarf 1960).

    `S` is the tuned base-stock level; `s` lies below it by the economic order quantity `sqrt(2 K d / h)` of Harris
    (1913), with the order's fee `K`, demand `d` and holding cost `h`, times a factor that simulation picks.
    """

    name = "s_S"

    def levels(self) -> Floats:
        """`S`, or what is there."""
        env = self._env
        return reordered(env, self.by_world(tuned_levels), self.by_world(reorder_gaps))


class CappedBaseStock(Levels):
    """Orders up to the tuned level, but never more than a cap, which simulation picks.

    Where sales are lost this is close to optimal for long lead times (Xin 2021, "Understanding the performance of
    capped base-stock policies in lost-sales inventory models").
    """

    name = "capped"

    def levels(self) -> Floats:
        """The tuned level, or what is there and the cap beside."""
        env = self._env
        return capped(env, self.by_world(tuned_levels), self.by_world(caps))


class Sterman(Insider):
    """Orders as people do in the beer game: anchored to expected demand, adjusted too little for what is on its way.

    Sterman (1989), "Modeling managerial behavior", equations 6 to 10, with the mean of his 44 players' estimates:

        order = max(0, expected + alpha (S' - stock - beta supply line)),  alpha 0.26, beta 0.34, smoothing 0.36.

    His `S'` of 17 at a demand of 4 is three steps' demand and `beta` times a supply line of four steps' demand.
    """

    name = "sterman"
    ALPHA, BETA, THETA, COVER = 0.26, 0.34, 0.36, 3.0

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """What people order; the state is what they expect of each cell, `[B, M]`; NaN where they know nothing yet."""
        env = self._env
        flows = env.flows
        expected = np.full(flows.backlog.shape, np.nan) if state is None else state
        before = np.where(np.isnan(expected), flows.plan.rate, expected)
        expected = before + self.THETA * (env.asked - before)
        stock = flows.on_hand() - flows.waited_for()
        line = flows.pool(flows.on_order(), "target", env.size.cells)
        rate = flows.of(flows.plan.rate, "target")
        desired = rate * (self.COVER + self.BETA * env.lead)
        gap = desired - flows.of(stock + self.BETA * line, "target")
        orders = np.maximum(flows.of(expected, "target") + self.ALPHA * gap, 0.0)
        return env.actions_for(env.levels_for(np.where(flows.plan.fastest, orders, 0.0))), expected

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """Nothing is known of those worlds."""
        if state is None:
            return None
        kept = state.copy()
        kept[worlds] = np.nan
        return kept


def reordered(env: SupplyChainEnv, levels: Floats, gaps: Floats) -> Floats:
    """Levels at which nothing is ordered where more than `level - gap` is there, `[B, S]`."""
    there = env.there()
    return np.where(there <= levels - gaps, levels, np.minimum(there, levels))


def capped(env: SupplyChainEnv, levels: Floats, most: Floats) -> Floats:
    """Levels at which no more than a cap is ordered beside what is asked for in the same step, `[B, S]`."""
    return np.minimum(levels, env.there() + most)


def quantities(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """The economic order quantity of each way, `[S]`."""
    plan = env.plan_of(task)
    hold = np.append(plan.hold, 0.0)[plan.target]
    return np.sqrt(2 * plan.order * task.demand * plan.way_rate / np.where(hold > 0, hold, np.inf))


def reorder_gaps(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """What `s` lies below `S`, of each way, `[S]`."""
    return quantities(env, task) * _best(alone(env.config, task), task, "gap")


def caps(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """The largest order of each way, `[S]`."""
    return task.demand * env.plan_of(task).way_rate * _best(alone(env.config, task), task, "cap")


@lru_cache(maxsize=64)
def _best(config: SupplyConfig, task: SupplyTask, what: str) -> float:
    """The factor, of those allowed, at which most is earned."""
    one = SupplyChainEnv(config, 1, task=task)
    gap = what == "gap"
    factors = np.array(GAPS if gap else CAPS)
    unit = quantities(one, task) if gap else task.demand * one.plan_of(task).way_rate
    rule: Callable[[SupplyChainEnv, Floats, Floats], Floats] = reordered if gap else capped
    levels = tuned_levels(one, task)[None]
    sizes = np.repeat(factors[:, None] * unit, WORLDS, axis=0)
    earned = returns_of(config, task, len(factors), lambda env: rule(env, levels, sizes))
    return float(factors[int(np.argmax(earned))])
