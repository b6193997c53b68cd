"""What a tenant sees: its own standing, its jobs, and the machines.

Amounts are shares: of the cluster, of an even part of it, of a job's width. So what is learned among eight tenants
holds among a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.layout import EntityTable, ObservationLayout
from envs.resource_allocation.accounts import Accounts
from envs.resource_allocation.jobs import Jobs
from envs.resource_allocation.placing import fitting, loads, per_unit
from envs.resource_allocation.plan import Bools, Floats, Ints, Plan, Size
from envs.resource_allocation.urgency import ahead, marginal_welfare
from envs.utility import least

Floats32 = NDArray[np.float32]
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
        plan, jobs, accounts: As they stand.
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
    jobs: Jobs
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
        rows = self.out.reshape(-1, self.layout.size)  # a row for each tenant of all worlds
        self._own, self._jobs, self._exists = self.layout.own_of(self.out), jobs.values_of(rows), rows[:, jobs.exists]
        self._in_hand = self.out[:, :, jobs.values.start : jobs.exists.stop]
        self._machines = self.out[:, :, machines.values.start : machines.exists.stop]

    def write(self, seen: Seen) -> tuple[Floats32, Floats32]:
        """Observations of all tenants, `[B, A, D]`, in an array that the next call reuses; and the state `[B, S]`."""
        jobs, alive = seen.jobs, seen.alive
        even = 1.0 / np.maximum(alive.sum(axis=1), 1)
        parts, service = jobs.dominant * jobs.usable, seen.accounts.service()
        asked = jobs.by_tenant(parts)
        own = self._of_tenants(seen, service, asked, jobs.by_tenant(jobs.dominant * jobs.granted), even)
        for place, values in enumerate(own):
            self._own[..., place] = values
        self._in_hand[...] = 0.0
        slot = jobs.tenant, jobs.place % jobs.shape[2]
        self._jobs[slot] = self._of_jobs(seen, parts, even).T
        self._exists[slot] = 1.0
        self._machines[...] = self._of_machines(seen)[:, None]
        self.out[~alive] = 0.0
        standing = np.where(alive, service, 0.0)
        state = np.concatenate([standing, asked / even[:, None], alive, seen.up, seen.load], axis=1)
        return self.out, np.clip(state, 0.0, MOST).astype(np.float32)

    def _of_machines(self, seen: Seen) -> Floats32:
        """What is seen of machines, and which there are, as it lies in observations, `[B, M * F + M]`."""
        shares = seen.plan.capacity / _some(seen.plan.capacity.sum(axis=1, keepdims=True))
        machines = _cut_off((shares.mean(axis=2), seen.up, seen.load), seen.up.shape)
        return np.concatenate([np.moveaxis(machines, 0, -1).reshape(len(shares), -1), seen.plan.count > 0], axis=1)

    def _of_tenants(self, seen: Seen, service: Floats, asked: Floats, got: Floats, even: Floats) -> Floats32:
        """What is seen of each tenant, `[O, B, A]`."""
        count = np.maximum(seen.alive.sum(axis=1), 1)
        mean = np.where(seen.alive, service, 0.0).sum(axis=1) / count
        each: tuple[Any, ...] = (
            service,
            mean[:, None],
            least(service, seen.alive)[:, None],
            asked / even[:, None],
            asked.sum(axis=1)[:, None],
            got / even[:, None],
            seen.backlog / seen.jobs.shape[2],
            seen.quota / even[:, None],
            seen.left[:, None],
            seen.price[:, None],
            seen.carbon[:, None],
            (seen.alpha / (1 + seen.alpha))[:, None],
            *seen.weights.T[..., None],
        )
        return _cut_off(each, service.shape)

    def _of_jobs(self, seen: Seen, parts: Floats, even: Floats) -> Floats32:
        """What is seen of each job, `[F, N]`."""
        plan, jobs = seen.plan, seen.jobs
        world, width, kinds = jobs.world, jobs.width, jobs.kinds(plan)
        slack = (jobs.due - seen.clock[world] - jobs.takes) / 10
        value = jobs.value / jobs.dominant
        usual = jobs.by_world(value) / np.maximum(jobs.count, 1)
        running = plan.capacity * seen.up[..., None]
        fits = kinds.each(fitting(per_unit(kinds.needs), kinds.allowed, running).sum(axis=1))
        total, up = _some(plan.capacity.sum(axis=1))[..., None], running.sum(axis=1)[..., None]
        amounts = kinds.needs / total  # what a task takes of all there is
        pressed = (amounts * loads(kinds.together(jobs.usable)[:, None], amounts).swapaxes(1, 2)).sum(axis=1)
        index = marginal_welfare(
            jobs, seen.accounts, seen.clock, seen.alive, seen.alpha, seen.weights, seen.money, seen.energy
        )
        asked = kinds.on_machines(kinds.needs / np.where(up > 0, up, 1e-9)) * jobs.usable
        each = (
            parts / even[world],
            jobs.takes / 10,
            np.where(np.isinf(slack), FAR, slack),
            jobs.granted / width,
            value / usual[world],
            np.minimum(fits / width, 1.0),
            jobs.gang / width,
            (seen.clock[world] - jobs.since) / 10,
            jobs.priority,
            jobs.checkpoint / np.where(np.isfinite(jobs.work), np.maximum(jobs.work, 1.0), 1.0),
            ahead(world, index, asked),
            kinds.each(pressed / _some(amounts.sum(axis=1))),
            jobs.draws * seen.energy[world] / jobs.value,
            *(kinds.on_machines(amounts / even[:, None, None]) * width),
        )
        return _cut_off(each, world.shape)


def _some(amounts: Floats) -> Floats:
    """What shares are taken of: 1 where there is nothing."""
    return np.where(amounts > 0, amounts, 1.0)


def _cut_off(each: Sequence[Any], shape: tuple[int, ...]) -> Floats32:
    """Features of the given shape one after the other, `[F, ...]`, none beyond `MOST`."""
    found = np.empty((len(each), *shape), np.float32)
    for place, values in enumerate(each):
        found[place] = values
    return np.clip(found, -MOST, MOST, out=found)
