"""Which job adds most to the task's own objectives for what it takes: the order of a good scheduler's queue."""

from __future__ import annotations

import numpy as np

from envs.resource_allocation.accounts import Accounts
from envs.resource_allocation.fairness import LEAST, equivalent
from envs.resource_allocation.jobs import Jobs
from envs.resource_allocation.plan import Bools, Floats, Ints

SHARPEST = 8.0
"""Largest aversion to inequality that is reckoned with: beyond it one tenant's need hides all others'."""
PATIENCE = 10.0
"""Of the apparent tardiness cost rule, its `k`: how many jobs' times ahead a deadline begins to press."""
EVEN = 0.3
"""Least weight of fairness, of that of value: jobs that starve hold slots, so that some fairness earns value, too."""


def marginal_welfare(
    jobs: Jobs,
    accounts: Accounts,
    clock: Ints,
    alive: Bools,
    alpha: Floats,
    weights: Floats,
    money: Floats,
    energy: Floats,
) -> Floats:
    """What a task of each job adds to welfare, for what it takes of the cluster, `[N]`.

    Gradient scheduling (Stolyar 2005): in each step the work is done whose marginal utility is largest, given what
    everybody has had so far; for concave utilities of long-run averages it is asymptotically optimal. Of a task of a
    job with value `v` a task-step that takes the share `d` of the cluster it is

        v / d * (worth * urgency * work / left / (n * money) + fairness * t / n * (E / S)^alpha / wanted)

    less what the energy it draws costs, where `S` is the tenant's service, `E` the equally distributed equivalent of
    all, `t` the steps so far, and `wanted` the value it could have had. Value is paid for whole jobs that are done in
    time: so what is worth most for what is *left* comes first (Smith 1956), and `urgency` is that of the apparent
    tardiness cost rule (Vepsalainen and Morton 1987), `exp(-slack / (k * mean time taken))`, none for who comes too
    late. What runs counts more by the work it would lose if it were stopped.

    Args:
        jobs: The jobs in hand.
        accounts: What tenants have had.
        clock: Steps so far, `[B]`.
        alive: Who is there, `[B, A]`.
        alpha: Aversion to inequality, `[B]`.
        weights: What value and fairness weigh, in that order, `[B, 2]` or more.
        money: Value that comes in a step to a tenant [currency], `[B]`.
        energy: What energy costs now, its carbon included [currency a kWh], `[B]`.
    """
    count = np.maximum(alive.sum(axis=1), 1)
    money_of_all = count * money
    world, endless = jobs.world, np.isinf(jobs.work)
    usual = jobs.by_world(jobs.takes) / np.maximum(jobs.count, 1)
    slack = jobs.due - clock[world] - jobs.takes
    pressing = np.exp(-np.clip(slack, 0.0, 1e3) / (PATIENCE * np.maximum(usual, 1.0))[world])
    urgency = np.where(np.isinf(jobs.due), 1.0, np.where(slack < -1e-9, 0.0, pressing))
    earned = (weights[:, 0] / money_of_all)[world] * urgency
    service = np.maximum(accounts.service(), LEAST)
    even = equivalent(service, alpha, alive)[:, None]
    wanted = accounts.wanted + jobs.by_tenant(jobs.usable * jobs.value)
    share = (even / service) ** np.minimum(alpha[:, None], SHARPEST)
    fairness = np.maximum(weights[:, 1], EVEN * weights[:, 0])
    fair = (fairness * (clock + 1) / count)[:, None] * share / np.where(wanted > 0, wanted, 1.0)
    left = np.where(endless, 1.0, np.maximum(jobs.left, 1.0))
    kept = 1.0 + jobs.checkpoint * jobs.granted / jobs.width
    gained = jobs.value * kept * (earned * np.where(endless, 1.0, jobs.work) / left + fair.take(jobs.tenant))
    found: Floats = (gained - jobs.draws * (energy / money_of_all)[world]) / jobs.dominant
    return found


def ahead(world: Ints, index: Floats, asked: Floats) -> Floats:
    """What jobs of a world that come before take of a job's scarcest resource, `[N]`: 1 is all there is.

    Args:
        world: World of each job, `[N]`, in ascending order.
        index: How pressing it is, `[N]`: the largest first.
        asked: What it could use of each resource, beside what there is, `[R, N]`; 0 of what it does not need.
    """
    count = np.bincount(world)
    first, table = count.cumsum() - count, (len(count), count.max(initial=0))
    row = (
        np.arange(len(world)) + (np.arange(table[0]) * table[1] - first)[world]
    )  # in a table with a row for each world
    key = np.full(table, np.inf)
    key.put(row, -index)
    order = (key.argsort(axis=1, kind="stable") + first[:, None]).take(row)
    amounts, most = np.zeros(table), np.zeros(len(world))
    for resource in asked:
        own = resource.take(order)
        amounts.put(row, own)
        before = amounts.cumsum(axis=1).take(row) - own
        np.maximum(most, before * (own > 0), out=most)
    found = np.empty_like(most)
    found[order] = most
    return found
