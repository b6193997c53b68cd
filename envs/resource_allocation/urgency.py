"""Which job adds most to the task's own objectives for what it takes: the order of a good scheduler's queue."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.resource_allocation.accounts import Accounts
from envs.resource_allocation.fairness import LEAST, equivalent
from envs.resource_allocation.plan import Bools, Floats, Ints
from envs.resource_allocation.slots import Slots

SHARPEST = 8.0
"""Largest aversion to inequality that is reckoned with: beyond it one tenant's need hides all others'."""
PATIENCE = 10.0
"""Of the apparent tardiness cost rule, its `k`: how many jobs' times ahead a deadline begins to press."""
EVEN = 0.3
"""Least weight of fairness, of that of value: jobs that starve hold slots, so that some fairness earns value, too."""


def marginal_welfare(
    slots: Slots,
    accounts: Accounts,
    clock: Ints,
    alive: Bools,
    alpha: Floats,
    weights: Floats,
    money: Floats,
    energy: Floats,
) -> Floats:
    """What a task of each job adds to welfare, for what it takes of the cluster, `[B, A, J]`.

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
        slots: The jobs.
        accounts: What tenants have had.
        clock: Steps so far, `[B]`.
        alive: Who is there, `[B, A]`.
        alpha: Aversion to inequality, `[B]`.
        weights: What value and fairness weigh, in that order, `[B, 2]` or more.
        money: Value that comes in a step to a tenant [currency], `[B]`.
        energy: What energy costs now, its carbon included [currency a kWh], `[B]`.
    """
    count = np.maximum(alive.sum(axis=1), 1)[:, None]
    endless = np.isinf(slots.work)
    takes = least_time(slots)
    slack = slots.due - clock[:, None, None] - takes
    usual = takes.sum(axis=(1, 2)) / np.maximum(slots.there.sum(axis=(1, 2)), 1)
    pressing = np.exp(-np.clip(slack, 0.0, 1e3) / (PATIENCE * np.maximum(usual, 1.0)[:, None, None]))
    urgency = np.where(np.isinf(slots.due), 1.0, np.where(slack < -1e-9, 0.0, pressing))
    earned = weights[:, 0, None, None] / (count * money[:, None])[..., None] * urgency
    service = np.maximum(accounts.service(), LEAST)
    even = equivalent(service, alpha, alive)[:, None]
    wanted = accounts.wanted + (slots.usable() * slots.value).sum(axis=2)
    share = (even / service) ** np.minimum(alpha[:, None], SHARPEST)
    fairness = np.maximum(weights[:, 1], EVEN * weights[:, 0])
    fair = (fairness * (clock + 1))[:, None] / count * share / np.where(wanted > 0, wanted, 1.0)
    share_of_cluster = np.where(slots.dominant > 0, slots.dominant, 1.0)
    drawn = slots.draws * (energy[:, None] / (count * money[:, None]))[..., None]
    left: Any = np.where(endless, 1.0, np.maximum(slots.left, 1.0))
    kept = 1.0 + slots.checkpoint * slots.granted / np.where(slots.there, slots.width, 1.0)
    gained = slots.value * kept * (earned * np.where(endless, 1.0, slots.work) / left + fair[..., None])
    found: Floats = (gained - drawn) / share_of_cluster
    return found


def least_time(slots: Slots) -> Floats:
    """Least time that a job still takes, `[B, A, J]` [steps]; 0 of one that never ends."""
    return np.where(np.isinf(slots.left), 0.0, slots.left) / np.where(slots.there, slots.width, 1.0)


def ahead(index: Floats, asked: Floats, needed: Bools) -> Floats:
    """What jobs that come before take of a job's scarcest resource, `[B, A, J]`: 1 is all there is.

    Args:
        index: How pressing each job is, `[B, A, J]`: the largest first.
        asked: What each could use of each resource, beside what there is, `[B, R, A, J]`.
        needed: Whether it needs any of it, `[B, R, A, J]`.
    """
    flat = (*asked.shape[:2], -1)
    amounts = asked.reshape(flat)
    order = np.argsort(-index.reshape(len(index), -1), axis=1, kind="stable")[:, None]
    inverse = np.empty_like(order)
    np.put_along_axis(inverse, order, np.arange(order.shape[2])[None, None], axis=2)
    before = np.take_along_axis(amounts, order, axis=2).cumsum(axis=2)
    found = np.take_along_axis(before, inverse, axis=2) - amounts
    most: Floats = np.where(needed, found.reshape(asked.shape), 0.0).max(axis=1)
    return most
