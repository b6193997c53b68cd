"""A cluster as arrays, sized for the largest of a run, so that worlds with different ones are stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from envs.resource_allocation.cluster import Cluster

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Size:
    """How large arrays are: most tenants, slots, kinds of machines, resources, kinds of jobs, and kinds of tenants."""

    tenants: int
    slots: int
    machines: int
    resources: int
    jobs: int
    kinds: int

    @classmethod
    def of(cls, clusters: Sequence[Cluster], tenants: int, slots: int) -> Self:
        """What holds each of the clusters."""
        most = [max(len(getattr(c, name)) for c in clusters) for name in ("machines", "resources", "jobs", "tenants")]
        return cls(tenants, slots, *most)


@dataclass
class Plan:
    """One cluster, or those of `B` worlds with an axis before all others.

    Attributes:
        count: Machines of each kind, `[M]`; 0 where there is no further kind.
        capacity: What all of a kind have together, `[M, R]`.
        idle, busy: Power that all of a kind draw when idle, and when full [kW], `[M]`.
        needs: What a task takes, `[K, R]`.
        width, gang, value, checkpoint, usage: As in `Job`, `[K]`.
        priority: As in `Job`, `[K]`.
        mean, cv: Of the work of a job [task-steps], `[K]`; infinite and 0 where it never ends.
        slack: `[K]`; infinite where there is no deadline.
        allowed: Where it runs, `[K, M]`.
        dominant: What a task takes of the cluster, of the resource that it takes most of, `[K]` (Ghodsi et al. 2011).
        power: What a task draws on each kind of machine [kW], `[M, K]`.
        draws: The mean of that over the machines that it may run on [kW], `[K]`.
        mix: How often a tenant of a kind has a job of a kind, relative, `[G, K]`.
        chance: Probability that a tenant is of a kind, `[G]`.
        quota: Of a kind of tenants, `[G]`.
    """

    count: Ints
    capacity: Floats
    idle: Floats
    busy: Floats
    needs: Floats
    width: Floats
    gang: Floats
    value: Floats
    checkpoint: Floats
    usage: Floats
    priority: Ints
    mean: Floats
    cv: Floats
    slack: Floats
    allowed: Bools
    dominant: Floats
    power: Floats
    draws: Floats
    mix: Floats
    chance: Floats
    quota: Floats

    @classmethod
    def empty(cls, size: Size) -> Self:
        """A cluster without anything."""
        machines, jobs, kinds = size.machines, size.jobs, size.kinds
        return cls(
            count=np.zeros(machines, np.int64),
            capacity=np.zeros((machines, size.resources)),
            idle=np.zeros(machines),
            busy=np.zeros(machines),
            needs=np.zeros((jobs, size.resources)),
            width=np.zeros(jobs),
            gang=np.zeros(jobs),
            value=np.zeros(jobs),
            checkpoint=np.zeros(jobs),
            usage=np.ones(jobs),
            priority=np.zeros(jobs, np.int64),
            mean=np.ones(jobs),
            cv=np.zeros(jobs),
            slack=np.full(jobs, np.inf),
            allowed=np.zeros((jobs, machines), np.bool_),
            dominant=np.zeros(jobs),
            power=np.zeros((machines, jobs)),
            draws=np.zeros(jobs),
            mix=np.zeros((kinds, jobs)),
            chance=np.zeros(kinds),
            quota=np.ones(kinds),
        )

    @classmethod
    def of(cls, cluster: Cluster, size: Size) -> Self:
        """A cluster as arrays."""
        plan = cls.empty(size)
        resources, machines, jobs = list(cluster.resources), list(cluster.machines), list(cluster.jobs)
        for m, kind in enumerate(cluster.machines.values()):
            plan.count[m] = kind.count
            plan.idle[m], plan.busy[m] = kind.count * kind.idle, kind.count * kind.busy
            for name, amount in kind.capacity.items():
                plan.capacity[m, resources.index(name)] = kind.count * amount
        total = plan.capacity.sum(axis=0)
        for k, job in enumerate(cluster.jobs.values()):
            for name, amount in job.needs.items():
                plan.needs[k, resources.index(name)] = amount
            for field in ("width", "gang", "value", "checkpoint", "usage", "priority"):
                getattr(plan, field)[k] = getattr(job, field)
            plan.mean[k], plan.cv[k] = (np.inf, 0.0) if job.work is None else (job.work.mean, job.work.cv)
            plan.slack[k] = np.inf if job.slack is None else job.slack
            for m, name in enumerate(machines):
                plan.allowed[k, m] = cluster.fits(job, name)
            needed = plan.needs[k] > 0
            plan.dominant[k] = (plan.needs[k, needed] / total[needed]).max()
            for place in np.flatnonzero(plan.allowed[k]):
                share = (plan.needs[k, needed] / plan.capacity[place, needed]).max()
                plan.power[place, k] = share * (plan.busy[place] - plan.idle[place])
            plan.draws[k] = np.average(plan.power[:, k], weights=plan.count * plan.allowed[k])
        for g, tenant in enumerate(cluster.tenants.values()):
            for name, often in tenant.jobs.items():
                plan.mix[g, jobs.index(name)] = often
            plan.chance[g], plan.quota[g] = tenant.weight, 1.0 if tenant.quota is None else tenant.quota
        plan.chance /= plan.chance.sum()
        return plan

    def worlds(self, count: int) -> Plan:
        """The plan for `count` worlds alike, arrays with an axis before all others."""
        return Plan(**{f.name: np.repeat(getattr(self, f.name)[None], count, axis=0) for f in fields(self)})

    def put(self, worlds: Ints, plan: Plan) -> None:
        """Has some worlds play another cluster."""
        for field in fields(self):
            getattr(self, field.name)[worlds] = getattr(plan, field.name)
