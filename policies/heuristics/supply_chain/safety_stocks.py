"""Safety stocks of a network: by the newsvendor's rule, or tuned by simulation and remembered.

Tuned are base-stock levels that stay as they are, so that everybody orders what was sold and nothing swings; a forecast
that follows every demand costs more than it is worth where demand is steady.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.forecasts import PRIOR_CV
from policies.heuristics.supply_chain.memory import Memory, alone

Floats = NDArray[np.float64]
WORLDS, SEED = 48, 7_000_001
"""Worlds that every candidate meets, and their seed, which is used nowhere else."""
TOGETHER = 1536
"""Most worlds stepped at once."""
MEMORY = Memory("safety_stocks", f"fixed levels of mean demand, {WORLDS} worlds of seed {SEED}")
FINEST = 0.03
"""Shortest step of the search [mean demand of a step, by root of lead time]."""
SMALL = 16
"""Networks of no more ways have a safety stock for each."""


def critical_ratio(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """The newsvendor's safety stock of each way, `[S]`: the quantile `penalty / (penalty + holding)` of normal demand.

    The penalty is the largest of all that a cell's goods end in: for what is lost the price too.
    """
    plan, cells = env.plan_of(task), env.size.cells
    penalty = np.append(plan.sold * (plan.shortage + plan.lost * plan.sale), 0.0)
    for way in np.flatnonzero(plan.way)[::-1]:  # ways come upstream first, so that downstream is known by then
        for cell in {int(plan.source[way]), *map(int, plan.parts[way])} - {cells}:
            penalty[cell] = max(penalty[cell], penalty[plan.target[way]])
    hold = np.append(plan.hold, 0.0)
    both = penalty + hold
    ratio = np.clip(np.where(both > 0, penalty / np.where(both > 0, both, 1.0), 0.5), 0.05, 0.99)
    quantile = NormalDist().inv_cdf
    return np.array([quantile(float(share)) for share in ratio])[plan.target]


def fixed_levels(env: SupplyChainEnv, task: SupplyTask, safety: Floats) -> Floats:
    """Base-stock levels that do not move with the forecast, `[..., S]`: what is sold on average, and a safety stock."""
    plan = env.plan_of(task)
    lead = (plan.shortest + plan.longest) / 2
    rate = task.demand * np.append(plan.rate, 0.0)[plan.target]
    return rate * (lead + np.sqrt(lead) * safety)


def tuned_levels(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """Levels of each way, `[S]`, tuned for a task."""
    return fixed_levels(env, task, tuned(env, task))


def tuned(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """Safety stocks of fixed levels, `[S]`, tuned for a task; from a file if they are in one."""
    config = alone(env.config, task)
    names = [way.name for way in env.network_of(task).ways]
    known = MEMORY.recall(config, task)
    if known is None:
        known = {"safety": dict(zip(names, search(config, task).tolist(), strict=False))}
        MEMORY.keep(config, task, known)
    found = np.array([known["safety"][name] for name in names])
    return np.pad(found, (0, env.size.ways - len(found)))


@lru_cache(maxsize=64)
def search(config: SupplyConfig, task: SupplyTask, finely: bool | None = None) -> Floats:
    """Searches for a task's safety stocks, `[S]`: first one for all ways alike, then, in small networks, one for each.

    Alike are ways to nodes of one role that are both made, or both the fastest to their product, or neither.

    Args:
        config: Of the network alone.
        task: The task.
        finely: Whether each way has one of its own; by default in networks of up to `SMALL` ways.
    """
    one = SupplyChainEnv(config, 1, task=task)
    one.reset(SEED)
    plan = one.plan_of(task)
    ways = np.flatnonzero(plan.way)
    roles = {index: node.role for index, node in enumerate(one.nodes_of(task))}
    kinds = [(roles[int(plan.owner[w])], bool(plan.made[w]), bool(plan.fastest[w])) for w in ways]
    alike = np.array([[kind == other for kind in kinds] for other in dict.fromkeys(kinds)])
    moves = np.zeros((len(alike), len(plan.way)))
    moves[:, ways] = alike
    best = np.clip(PRIOR_CV * critical_ratio(one, task), -config.reach, config.reach)
    best = _climb(config, task, best, moves, 0.3)
    if not (len(ways) <= SMALL if finely is None else finely):
        return best
    each = np.zeros((len(ways), len(plan.way)))
    each[np.arange(len(ways)), ways] = 1.0
    return _climb(config, task, best, each, 0.15)


def _climb(config: SupplyConfig, task: SupplyTask, best: Floats, moves: Floats, step: float) -> Floats:
    """Pattern search along moves `[X, S]`, all candidates of a round played side by side.

    Every candidate meets the same worlds. A round tries each move a step up and a step down; the best, or all that are
    better together, is where the next one begins; where none is better, the step is halved.
    """
    both = np.concatenate([moves, -moves])
    value = _returns(config, task, best[None])[0]
    while step > FINEST:
        candidates = np.clip(best + step * both, -config.reach, config.reach)
        values = _returns(config, task, candidates)
        together = np.clip(best + step * both[values > value].sum(axis=0), -config.reach, config.reach)
        joint, top = _returns(config, task, together[None])[0], int(np.argmax(values))
        if max(joint, values[top]) <= value:
            step /= 2
        elif joint >= values[top]:
            best, value = together, joint
        else:
            best, value = candidates[top], values[top]
    return best


def _returns(config: SupplyConfig, task: SupplyTask, candidates: Floats) -> Floats:
    """Mean return of each candidate `[C, S]`, `[C]`."""
    found: list[Floats] = []
    each = TOGETHER // WORLDS
    for start in range(0, len(candidates), each):
        some = candidates[start : start + each]
        fixed = fixed_levels(SupplyChainEnv(config, 1, task=task), task, some)
        levels = np.repeat(fixed, WORLDS, axis=0)
        found.append(returns_of(config, task, len(some), partial(_constant, levels)))
    return np.concatenate(found)


def _constant(levels: Floats, env: SupplyChainEnv) -> Floats:
    return levels


def returns_of(
    config: SupplyConfig, task: SupplyTask, count: int, levels: Callable[[SupplyChainEnv], Floats]
) -> Floats:
    """Mean returns of rules played side by side, `[C]`, each in the same worlds.

    Args:
        config: Of the network alone.
        task: The task.
        count: How many rules, `C`.
        levels: What all ask for now, `[C x WORLDS, S]`, rule by rule.
    """
    env = SupplyChainEnv(config, WORLDS * count, task=task)
    env.reset(SEED)
    env.replay([(SEED, world, 0) for _ in range(count) for world in range(WORLDS)], range(env.num_worlds))
    env.restart(range(env.num_worlds))
    final = None
    while final is None:
        final = env.step(env.actions_for(levels(env))).final
    means: Floats = final.mean_returns().reshape(count, WORLDS).mean(axis=1)
    return means
