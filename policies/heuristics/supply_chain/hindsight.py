"""What nobody exceeds: the best that could have been done by somebody who knew from the beginning all that came."""

from __future__ import annotations

from typing import cast

import numpy as np

from envs.supply_chain.config import SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.plan import Floats, Plan
from policies.heuristics.supply_chain.program import Courses, FlowProgram, Start


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
