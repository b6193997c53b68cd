"""What nobody exceeds: the value of work by who knows all jobs that come, by linear programs.

For one world let `x[j, t]` be the tasks of job `j` in step `t`, from its coming to its deadline. The program

    max  sum (v[j] - e[j, t]) x[j, t]      v: value of a task-step, e: what its energy costs then
    s.t. sum_t x[j, t] <= work[j],   x[j, t] <= width[j],
         sum_j needs[j, r] x[j, t] <= s * capacity[r, t],   sum_j usage[j] needs[j, r] x[j, t] <= capacity[r, t]

bounds what any policy earns in value less energy. For whatever it does is a point of it: a grant keeps to width, work,
and to what all machines that run have, `s` times where more is promised than there is, and without it where tasks use
what they use; it earns `v` for work of jobs that are done, and nothing for others; and what it pays for machines that
idle is left out. Jobs that cannot be done before the end, or in time, earn nothing and are left out, too. Slots, gangs,
quotas, affinity, checkpoints and tenants that leave only take from it.

Fairness is 1 a step at most, so that the return is bound by what the program gives and `fairness * T` more: close where
value is what counts, and loose where fairness does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from envs.resource_allocation.config import AllocationTask
from envs.resource_allocation.env import AllocationEnv

Floats = NDArray[np.float64]


def hindsight(env: AllocationEnv, worlds: range) -> Floats:
    """Bounds of the returns of the episodes that have just begun, mean over tenants, `[len(worlds)]`.

    Args:
        env: Worlds, just reset.
        worlds: Which of them.

    Raises:
        RuntimeError: If a program is not solved.
    """
    return np.array([_bound(env, world) for world in worlds])


def _bound(env: AllocationEnv, world: int) -> float:
    task = env.tasks[world]
    assert isinstance(task, AllocationTask)
    future, plan, steps = env.future, env.plan, task.max_steps
    come = future.at[world] < steps
    at, kind, work = (getattr(future, name)[world][come] for name in ("at", "job", "work"))
    endless = np.isinf(work)
    width = plan.width[world, kind] * np.where(endless, future.scale[world], 1.0)
    slack = plan.slack[world, kind]
    takes = np.ceil(np.where(endless, 0.0, work) / width)
    due = at + np.where(np.isinf(slack), steps, np.ceil(np.where(np.isinf(slack), 0.0, slack) * takes))
    long = np.minimum(due, steps).astype(np.int64) - at
    possible = long >= takes
    at, kind, work, width, long = (array[possible] for array in (at, kind, work, width, long))
    job = np.repeat(np.arange(len(at)), long)
    step = np.arange(len(job)) - np.repeat(long.cumsum() - long, long) + at[job]
    weights, money = env.objective_weights[world], env.money[world]
    energy = weights[2] * future.price[world, :steps] + weights[3] * future.carbon[world, :steps]
    least = np.where(plan.allowed[world, kind], plan.power[world].T[kind], np.inf).min(axis=1)
    gain = (weights[0] * plan.value[world, kind[job]] - least[job] * energy[step]) / money
    capacity = np.einsum("mr,tm->tr", plan.capacity[world], future.up[world, :steps])
    needs, usage, column = plan.needs[world, kind], plan.usage[world, kind], np.arange(len(job))
    rows, limits = [csr_array((np.ones(len(job)), (job, column)), shape=(len(at), len(job)))], [work]
    for resource in range(needs.shape[1]):
        for share, most in ((needs[:, resource], task.oversubscription), (needs[:, resource] * usage, 1.0)):
            rows.append(csr_array((share[job], (step, column)), shape=(steps, len(job))))
            limits.append(most * capacity[:, resource])
    limit = np.concatenate(limits)
    kept = np.isfinite(limit)
    solve: Any = linprog  # its stubs know no sparse matrices
    found = solve(
        -gain,
        A_ub=vstack(rows, format="csr")[kept],
        b_ub=limit[kept],
        bounds=np.stack([np.zeros(len(job)), width[job]], axis=1),
        method="highs",
    )
    if not found.success:
        raise RuntimeError(f"hindsight: got {found.message!r}, allowed is a program that is solved")
    return float(-found.fun / env.tenants_of(task) + weights[1] * steps)
