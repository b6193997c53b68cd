"""What nobody exceeds: the best that could have been done by somebody who knew from the beginning which calls come."""

from __future__ import annotations

from functools import cache
from typing import cast

import numpy as np
from scipy.special import ndtr

from envs.base import BatchedEnv
from envs.resource_allocation.workforce.config import WorkforceConfig, WorkforceTask
from envs.resource_allocation.workforce.env import WorkforceEnv
from envs.resource_allocation.workforce.future import LONGEST
from envs.resource_allocation.workforce.plan import Floats, Plan
from policies.heuristics.workforce.program import Day, least_cost

WORLDS, SEED = 16, 7_000_003
"""Worlds that the bound of a task is the mean of, and their seed, which is used nowhere else."""
AHEAD = 8
"""Steps that calls are followed for; who waits longer than that is taken to wait all day."""


def bound(env: BatchedEnv, task: WorkforceTask) -> float:
    """Mean return of a day, over team leads, that nobody exceeds on a task: the mean over `WORLDS` worlds."""
    assert isinstance(env, WorkforceEnv)
    return _bound(env.config.model_dump_json(), task.model_dump_json())


@cache
def _bound(config: str, task: str) -> float:
    env = WorkforceEnv(
        WorkforceConfig.model_validate_json(config), WORLDS, task=WorkforceTask.model_validate_json(task)
    )
    env.reset(SEED)
    return float(hindsight(env, range(WORLDS)).mean())


def hindsight(env: WorkforceEnv, worlds: range) -> Floats:
    """Returns that nobody exceeds on average in the days that some worlds are at the beginning of, `[E]`.

    The optimum of a linear program (`least_cost`) that knows all calls, their callers' patience and who stays away. It
    is a bound on the mean return of whoever does not know how long a call will take before it is answered:

    - *Calls*: a call is answered in a step in which its caller still waits; that much holds of every day. What the
      program leaves out makes life harder: whole workers and whole calls, turns in a queue, waiting within a step, how
      many can be lent, that those sent home are of the shift that ends first, and the pay of those who end a call late.
    - *Work*: handling times do not depend on what is decided, and whether a call is answered does not depend on its
      own; so in the mean over them calls answered in a step bring their number times the mean as work (Wald 1944). It
      is done in the time of those on duty, but for calls in progress when a step ends: one a worker, of which the rest
      is in the mean no more than the largest mean residual life of handling times, whatever has been seen.
    - *Mean*: all rows are linear, so that the mean of a policy's days over handling times fulfils them too, and costs
      no less than the optimum.
    - *Fairness*: the equally distributed equivalent is no more than the mean service level, and that no more than the
      share of calls that were answered in the step of their coming or early enough after it.

    Args:
        env: The env, reset.
        worlds: Whose days.
    """
    found = np.zeros(len(worlds))
    for index, world in enumerate(worlds):
        task = cast(WorkforceTask, env.tasks[world])
        weights = env.objective_weights[world]
        day = day_of(env, world)
        count = int(day.plan.skill.sum())
        found[index] = -least_cost(day) * weights[0] / (env.money[world] * count)
        assert task.max_steps == day.steps
    return found


def day_of(env: WorkforceEnv, world: int) -> Day:
    """What will happen in a world's day."""
    plan = Plan(**{name: array[world] for name, array in vars(env.plan).items()})
    steps, future = env.tasks[world].max_steps, env.future
    came = future.came[world, :, : steps + 1]
    skills, minutes = len(plan.skill), float(plan.step)
    waits, gave_up = np.zeros((skills, steps, AHEAD + 1), np.int64), np.zeros((skills, steps), np.int64)
    for skill in np.flatnonzero(plan.skill):
        until = future.until[world, skill, : came[skill, -1]]
        step = np.repeat(np.arange(steps), np.diff(came[skill]))
        later = np.floor(until / minutes) - step
        for ahead in range(AHEAD + 1):
            waits[skill, :, ahead] = np.bincount(step[later >= ahead], minlength=steps)
        gave_up[skill] = np.bincount(step[until < steps * minutes], minlength=steps)
    weights = env.objective_weights[world]
    total = np.maximum(came[:, -1], 1)
    prompt = weights[2] * env.money[world] * steps / total
    return Day(
        plan,
        steps,
        waits,
        gave_up,
        future.staffed[world],
        residual_of(plan),
        prompt,
        float(weights[1]),
    )


def residual_of(plan: Plan) -> Floats:
    """Largest mean of what is left of a call in progress, `[S]` [minutes]: the mean itself where it is exponential.

    Of a lognormal handling time cut off at `LONGEST` means it is found on a grid of the time that the call has taken.
    """
    found = plan.handling.copy()
    for skill in np.flatnonzero(plan.cv > 0):
        s = np.sqrt(np.log1p(plan.cv[skill] ** 2))
        age = np.linspace(0.0, LONGEST, 20_001)
        beyond = ndtr(-(np.log(np.maximum(age, 1e-12)) + s**2 / 2) / s)
        after = np.concatenate([np.cumsum(((beyond[1:] + beyond[:-1]) / 2 * np.diff(age))[::-1])[::-1], [0.0]])
        mean = after[0]  # of what is cut off
        found[skill] *= (after / beyond).max() / mean
    return found
