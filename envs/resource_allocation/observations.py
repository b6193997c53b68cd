"""What a tenant sees: its own standing, its jobs, and the machines.

Amounts are shares: of the cluster, of an even part of it, of a job's width. So what is learned among eight tenants
holds among a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.layout import EntityTable, ObservationLayout
from envs.resource_allocation.accounts import Accounts
from envs.resource_allocation.placing import fitting, per_unit
from envs.resource_allocation.plan import Bools, Floats, Ints, Plan, Size
from envs.resource_allocation.slots import Slots
from envs.resource_allocation.urgency import ahead, least_time, marginal_welfare
from envs.utility import least

OWN = (
    "service",
    "mean_service",
    "worst_service",
    "asked",
    "all_asked",
    "got",
    "backlog",
    "quota",
    "left",
    "price",
    "carbon",
    "inequality",
    "weigh_value",
    "weigh_fairness",
    "weigh_carbon",
)
"""Share of what it could have used that it got, and the mean and the least of all tenants; what it could use now, and
all together, beside an even part and beside what there is; what it got in the last step, beside an even part; jobs
that wait for a slot, by slots; its quota in even parts; share of the episode that is left; price and carbon of energy,
beside their means; aversion to inequality, `alpha / (1 + alpha)`; and what objectives weigh."""
JOBS = (
    "part",
    "takes",
    "slack",
    "running",
    "value",
    "fits",
    "gang",
    "age",
    "priority",
    "stops",
    "ahead",
    "pressure",
    "burden",
)
"""Of a job: what all its tasks take, of the resource they take most of, beside an even part; least time that it still
takes, and beyond that time to its deadline [10 steps]; tasks that ran; value of its work for what it takes, beside the
mean; tasks that fit where it may run if nobody else asks; fewest tasks; steps since it came [10]; priority; work that
stopping it costs [its own]; as a scheduler's queue shows it, what jobs could use that add more to welfare for what they
take, of what it needs, beside what runs (`urgency`); how much is asked for of what it needs beside what there is, mean
over resources by what it takes of each; and what the energy of a task costs now beside what its work is worth."""
MACHINES = ("size", "up", "load")
"""Of a kind of machines: what they have of the cluster, the mean over resources; share that runs; use of the resource
that is used most in the last step."""
MOST = 10.0
"""Observed shares are cut off here."""
FAR = 5.0
"""What is seen of a deadline that there is not."""


@dataclass(frozen=True)
class Seen:
    """What there is to be seen.

    Attributes:
        plan, slots, accounts: As they stand.
        clock: Present step, `[B]`.
        alive: Who is there, `[B, A]`.
        backlog: Jobs that wait for a slot, `[B, A]`.
        up: Share of machines that run, `[B, M]`.
        load: Use of machines in the last step, `[B, M]`.
        price, carbon: Beside their means, `[B]`.
        left: Share of the episode that is left, `[B]`.
        alpha: Aversion to inequality, `[B]`.
        weights: What value, fairness and carbon weigh, `[B, 3]`.
        money: Value that comes in a step to a tenant [currency], `[B]`.
        energy: What energy costs now, its carbon included [currency a kWh], `[B]`.
        quota: Of each tenant, `[B, A]`.
    """

    plan: Plan
    slots: Slots
    accounts: Accounts
    clock: Ints
    alive: Bools
    backlog: Ints
    up: Floats
    load: Floats
    price: Floats
    carbon: Floats
    left: Floats
    alpha: Floats
    weights: Floats
    money: Floats
    energy: Floats
    quota: Floats


def layout_of(size: Size) -> ObservationLayout:
    """The observation of every tenant."""
    slots = tuple(f"job_{index}" for index in range(size.slots))
    machines = EntityTable("machines", MACHINES, tuple(f"machines_{index}" for index in range(size.machines)))
    needs = tuple(f"need_{index}" for index in range(size.resources))
    return ObservationLayout(OWN, (*JOBS, *needs), slots, 1, (machines,))


class Observer:
    """Writes observations.

    Args:
        worlds: Worlds `B`.
        size: How large clusters are at most.
    """

    def __init__(self, worlds: int, size: Size) -> None:
        self.layout = layout_of(size)
        self.out = np.zeros((worlds, size.tenants, self.layout.size), np.float32)
        jobs, machines = self.layout.places
        self._jobs_out, self._machines_out = jobs.values_of(self.out), machines.values_of(self.out)
        self._exists, self._stand = self.out[:, :, jobs.exists], self.out[:, :, machines.exists]

    def write(self, seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Observations of all tenants, `[B, A, D]`, in an array that the next call reuses; and the state `[B, S]`."""
        plan, slots = seen.plan, seen.slots
        even = 1.0 / np.maximum(seen.alive.sum(axis=1), 1)
        dominant = slots.dominant
        parts = dominant * slots.usable()
        self._write_jobs(seen, dominant, parts, even)
        asked, got = parts.sum(axis=2), (dominant * slots.granted).sum(axis=2)
        self._write_own(seen, asked, got, even)
        total = plan.capacity.sum(axis=1, keepdims=True)
        machines = np.stack(
            [(plan.capacity / np.where(total > 0, total, 1.0)).mean(axis=2), seen.up, seen.load], axis=2
        )
        self._machines_out[...] = machines[:, None]
        self._stand[...] = (plan.count > 0)[:, None]
        self.out *= seen.alive[..., None]
        np.clip(self.out, -MOST, MOST, out=self.out)
        service = np.where(seen.alive, seen.accounts.service(), 0.0)
        state = np.concatenate([service, asked / even[:, None], seen.alive, seen.up, seen.load], axis=1)
        return self.out, np.clip(state, 0.0, MOST).astype(np.float32)

    def _write_own(self, seen: Seen, asked: Floats, got: Floats, even: Floats) -> None:
        service = seen.accounts.service()
        count = np.maximum(seen.alive.sum(axis=1), 1)
        mean = np.where(seen.alive, service, 0.0).sum(axis=1) / count
        own: tuple[Any, ...] = (
            service,
            mean[:, None],
            least(service, seen.alive)[:, None],
            asked / even[:, None],
            asked.sum(axis=1)[:, None],
            got / even[:, None],
            seen.backlog / seen.slots.there.shape[2],
            seen.quota / even[:, None],
            seen.left[:, None],
            seen.price[:, None],
            seen.carbon[:, None],
            (seen.alpha / (1 + seen.alpha))[:, None],
        )
        for place, values in enumerate(own):
            self.out[:, :, place] = values
        self.out[:, :, len(own) : len(OWN)] = seen.weights[:, None]

    def _write_jobs(self, seen: Seen, dominant: Floats, parts: Floats, even: Floats) -> None:
        plan, slots, out = seen.plan, seen.slots, self._jobs_out
        there, shape = slots.there, slots.there.shape
        width = np.where(there, slots.width, 1.0)
        takes = least_time(slots)
        slack = (slots.due - seen.clock[:, None, None] - takes) / 10
        value = slots.value / np.where(dominant > 0, dominant, 1.0)
        usual = value.sum(axis=(1, 2)) / np.maximum(there.sum(axis=(1, 2)), 1)
        flat, running = (shape[0], -1, shape[1] * shape[2]), plan.capacity * seen.up[..., None]
        each = per_unit(slots.needs.reshape(flat))
        fits = fitting(each, slots.allowed.reshape(flat), running).sum(axis=1).reshape(shape)
        self._exists[...] = there
        out[..., 0] = parts / even[:, None, None]
        out[..., 1] = takes / 10
        out[..., 2] = np.where(np.isinf(slack), FAR, slack)
        out[..., 3] = slots.granted / width
        out[..., 4] = value / np.where(usual > 0, usual, 1.0)[:, None, None]
        out[..., 5] = np.minimum(fits / width, 1.0)
        out[..., 6] = slots.gang / width
        out[..., 7] = (seen.clock[:, None, None] - slots.since) / 10
        out[..., 8] = slots.priority
        out[..., 9] = slots.checkpoint / np.where(np.isfinite(slots.work) & there, np.maximum(slots.work, 1.0), 1.0)
        usable = slots.usable()
        running_all = running.sum(axis=1)
        there_is = np.where(running_all > 0, running_all, 1e-9)[:, :, None, None]
        index = marginal_welfare(
            slots, seen.accounts, seen.clock, seen.alive, seen.alpha, seen.weights, seen.money, seen.energy
        )
        out[..., 10] = np.minimum(ahead(index, slots.needs * usable[:, None] / there_is, slots.needs > 0), MOST)
        total = plan.capacity.sum(axis=1)
        amounts = slots.needs.reshape(flat) / np.where(total > 0, total, 1.0)[..., None]
        asked = (amounts * usable.reshape(shape[0], 1, -1)).sum(axis=2)
        pressed, all_of = (amounts * asked[..., None]).sum(axis=1), amounts.sum(axis=1)
        out[..., 11] = (pressed / np.where(all_of > 0, all_of, 1.0)).reshape(shape)
        worth = np.where(slots.value > 0, slots.value, 1.0)
        out[..., 12] = np.minimum(slots.draws * seen.energy[:, None, None] / worth, MOST)
        for resource in range(total.shape[1]):
            part = even * np.where(total[:, resource] > 0, total[:, resource], 1.0)
            out[..., len(JOBS) + resource] = slots.needs[:, resource] * width / part[:, None, None]
        out *= there[..., None]
