"""What nobody exceeds: the best that could have been done by somebody who knew from the beginning all that came."""

from __future__ import annotations

from typing import cast

import numpy as np

from envs.base import BatchedEnv
from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.plan import Floats, Plan
from policies.heuristics.supply_chain.memory import Memory, alone
from policies.heuristics.supply_chain.program import Courses, FlowProgram, Start

WORLDS, SEED = 16, 7_000_003
"""Worlds that the bound of a task is the mean of, and their seed, which is used nowhere else."""
MEMORY = Memory("bounds", f"perfect information, seed {SEED}")


def bound(env: BatchedEnv, task: SupplyTask) -> float:
    """Mean return of an episode, over agents, that nobody exceeds on a task; from a file if it is in one.

    The mean over `WORLDS` worlds, or more where it comes with Entrepot.
    """
    assert isinstance(env, SupplyChainEnv)
    config = alone(env.config, task)
    known = MEMORY.recall(config, task)
    if known is None:
        known = bounds(config, task, WORLDS)
        MEMORY.keep(config, task, known)
    return float(known["bound"])


def bounds(config: SupplyConfig, task: SupplyTask, worlds: int) -> dict[str, float | int]:
    """A task's bound, mean over worlds, with its standard error."""
    env = SupplyChainEnv(config, worlds, task=task)
    env.reset(SEED)
    each = hindsight(env, range(worlds))
    return {"bound": float(each.mean()), "error": float(each.std(ddof=1) / np.sqrt(worlds)), "worlds": worlds}


def hindsight(env: SupplyChainEnv, worlds: range) -> Floats:
    """Returns that nobody exceeds in the episodes that some worlds are at the beginning of, mean over agents, `[E]`.

    The optimum of a linear program that leaves out what makes life harder (`FlowProgram`), with perfect information.

    Args:
        env: The env, reset.
        worlds: Whose episodes.
    """
    found = np.zeros(len(worlds))
    for index, world in enumerate(worlds):
        task = cast(SupplyTask, env.tasks[world])
        plan, steps = env.plan_of(task), task.max_steps
        future = env.future
        program = FlowProgram(
            plan,
            future.lead[None, world, :steps],
            future.good[None, world, :steps],
            service=task.service,
            carbon=task.carbon,
            valued=task.valued,
        )
        courses = Courses(
            future.demand[None, world, :steps], future.shut[None, world, :steps], future.strength[None, world, :steps]
        )
        value, _ = program.solve(begun(plan, env.size.horizon), courses)
        found[index] = value / env.money[world] / plan.node.sum()
    return found


def begun(plan: Plan, horizon: int) -> Start:
    """What there is when an episode begins."""
    return Start(plan.stock, np.zeros((len(plan.way), horizon)), np.zeros_like(plan.stock))
