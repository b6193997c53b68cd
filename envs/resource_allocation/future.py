"""What chance has in store for an episode, drawn when it begins: nobody sees it but those who must know all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from envs.resource_allocation.cluster import Cluster
from envs.resource_allocation.config import AllocationTask, Tariff
from envs.resource_allocation.plan import Floats, Ints, Plan, Size
from envs.streams import drawn_by

Bools = NDArray[np.bool_]
LONGEST = 100.0
"""Work is cut off at so many times its mean."""
COUNTS = {"name", "drawn", "oversubscription", "liars", "alpha", "over", "fairness", "carbon_price", "worth"}
"""Fields of a task that say what is made of what comes, and nothing of what comes."""


@dataclass
class Future:
    """Of `B` worlds, up to `T` steps and `N` jobs a tenant; a world's own episode may be shorter.

    Attributes:
        kind: Kind of each tenant, `[B, A]`.
        present: Whether a tenant is there, `[B, T, A]`.
        came: How many of its jobs have come by each step, that one included, `[B, T, A]`.
        at: When each of its jobs comes [steps], in their order, `[B, A, N]`.
        job, work: Their kinds, and how much work they are [task-steps], `[B, A, N]`.
        up: Share of the machines of each kind that run, `[B, T, M]`.
        price, carbon: Of a kWh, `[B, T]`.
        scale: What jobs that never end are wider than their cluster says, `[B]`.
        expected: Value of the work that comes in a step on average, all tenants' together [currency], `[B]`.
    """

    kind: Ints
    present: Bools
    came: Ints
    at: Ints
    job: Ints
    work: Floats
    up: Floats
    price: Floats
    carbon: Floats
    scale: Floats
    expected: Floats

    @classmethod
    def empty(cls, worlds: int, size: Size) -> Future:
        """Nothing happens."""
        tenants = (worlds, size.tenants)
        return cls(
            kind=np.zeros(tenants, np.int64),
            present=np.zeros((worlds, 1, size.tenants), np.bool_),
            came=np.zeros((worlds, 1, size.tenants), np.int64),
            at=np.zeros((*tenants, 1), np.int64),
            job=np.zeros((*tenants, 1), np.int64),
            work=np.zeros((*tenants, 1)),
            up=np.ones((worlds, 1, size.machines)),
            price=np.zeros((worlds, 1)),
            carbon=np.zeros((worlds, 1)),
            scale=np.ones(worlds),
            expected=np.ones(worlds),
        )

    def _longer(self, steps: int, jobs: int) -> None:
        """Makes room for longer episodes, and for more jobs."""
        for field in fields(self):
            array = getattr(self, field.name)
            axis, room = (1, steps) if field.name in ("present", "came", "up", "price", "carbon") else (2, jobs)
            if array.ndim > 1 and field.name != "kind" and room > array.shape[axis]:
                missing = [(0, room - array.shape[axis] if place == axis else 0) for place in range(array.ndim)]
                setattr(self, field.name, np.pad(array, missing, mode="edge"))

    def draw(
        self,
        worlds: Ints,
        cluster: Cluster,
        plan: Plan,
        task: AllocationTask,
        tenants: int,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        """Draws an episode of each of some worlds `[E]` that play the same task.

        Args:
            worlds: The worlds.
            cluster: Their cluster.
            plan: The same as arrays.
            task: What they play.
            tenants: How many tenants there are.
            rngs: Where from, `[E]`.
        """
        steps, shape = task.max_steps, (len(worlds), self.kind.shape[1])
        kind = np.zeros(shape, np.int64)
        luck = drawn_by(rngs, lambda rng: rng.random(tenants))
        kind[:, :tenants] = np.minimum((luck[..., None] >= plan.chance.cumsum()).sum(axis=2), len(cluster.tenants) - 1)
        present = np.zeros((len(worlds), steps, shape[1]), np.bool_)
        present[:, :, :tenants] = True
        if task.leaving is not None:
            names = tuple(f"tenant_{tenant}" for tenant in range(tenants))
            present[:, :, :tenants] = ~task.leaving.drawn(steps, names, rngs)
        factors = np.zeros((len(worlds), steps, shape[1]))
        factors[:, :, :tenants] = task.workload.draw(steps, tenants, rngs)
        rate, scale, expected = rates(plan, task.load, tenants)
        counts = self._counts(rate[kind], factors * present, rngs)
        came = np.zeros(counts.shape[:3], np.int64)
        for place in range(counts.shape[3]):  # along so short an axis a sum is slow
            came += counts[..., place]
        np.cumsum(came, axis=1, out=came)
        self._longer(steps, int(came[:, -1].max(initial=1)))
        self._lay(worlds, counts, plan, rngs)
        self.kind[worlds], self.scale[worlds], self.expected[worlds] = kind, scale, expected
        self.present[worlds, :steps] = present
        self.came[worlds, :steps] = came
        self.up[worlds] = 1.0
        if task.failures is not None:
            names = tuple(name for name, machines in cluster.machines.items() for _ in range(machines.count))
            down = task.failures.drawn(steps, names, rngs)
            for place, name in enumerate(cluster.machines):
                own = np.array([other == name for other in names])
                self.up[worlds, :steps, place] = 1.0 - down[:, :, own].mean(axis=2)
        self.price[worlds, :steps] = _drawn(task.price, steps, rngs)
        self.carbon[worlds, :steps] = _drawn(task.carbon, steps, rngs)

    def _counts(self, rate: Floats, factors: Floats, rngs: Sequence[np.random.Generator]) -> Ints:
        """How many jobs of each kind come, `[E, T, A, K]`; those that never end come once, at the beginning."""
        endless = np.isinf(rate)
        mean = np.where(endless, 0.0, rate)[:, None] * factors[..., None]
        counts = np.stack([rng.poisson(own) for rng, own in zip(rngs, mean, strict=True)])
        if endless.any():
            luck = drawn_by(rngs, lambda rng: rng.random(rate.shape[1]))
            each = np.maximum(endless.sum(axis=2), 1)
            chosen = endless & (endless.cumsum(axis=2) - 1 == (luck * each).astype(np.int64)[..., None])
            counts[:, 0] += chosen & (factors[:, 0] > 0)[..., None]
        return counts

    def _lay(self, worlds: Ints, counts: Ints, plan: Plan, rngs: Sequence[np.random.Generator]) -> None:
        """Writes down the jobs one after the other."""
        order = counts.swapaxes(1, 2)  # [E, A, T, K]
        each = order.reshape(*order.shape[:2], -1)
        some = np.flatnonzero(each)
        number = np.repeat(some, each.take(some))
        row, place = np.divmod(number, each.shape[2])
        total = each.sum(axis=2).ravel()
        rank = np.arange(len(row)) - np.repeat(total.cumsum() - total, total)
        at, job = np.divmod(place, counts.shape[3])
        share = np.sqrt(np.log1p(plan.cv**2))[job]
        drawn = np.concatenate([rng.standard_normal(n) for rng, n in zip(rngs, each.sum(axis=(1, 2)), strict=True)])
        mean = plan.mean[job]
        finite = np.where(np.isfinite(mean), mean, 1.0)
        work = np.minimum(np.exp(share * drawn - share**2 / 2), LONGEST) * finite
        where = (worlds[row // each.shape[1]], row % each.shape[1], rank)
        self.at[worlds], self.job[worlds], self.work[worlds] = np.iinfo(np.int64).max, 0, 0.0
        self.at[where], self.job[where] = at, job
        self.work[where] = np.where(np.isfinite(mean), work, np.inf)


def causes(task: AllocationTask) -> Hashable:
    """What of a task its future depends on: where that is the same, episodes are drawn together."""
    return task.model_dump_json(exclude=COUNTS)


def rates(plan: Plan, load: float, tenants: int) -> tuple[Floats, float, float]:
    """How often jobs must come so that they ask for `load` times what there is of the scarcest resource.

    Args:
        plan: The cluster.
        load: How much is asked for.
        tenants: How many tenants there are.

    Returns:
        Jobs of each kind that come to a tenant of each kind [a step], infinite if they never end, `[G, K]`; how much
        wider those are than their cluster says; and the value that comes, or can be earned, in a step [currency].
    """
    endless = np.isinf(plan.mean)
    amount = np.where(endless, plan.width, plan.mean)
    often = np.where(endless, plan.mix / np.maximum(plan.mix.sum(axis=1, keepdims=True), 1e-12), plan.mix)
    usual = plan.chance @ often  # of a tenant, `[K]`
    asked = tenants * (usual * amount) @ plan.needs
    total = plan.capacity.sum(axis=0)
    factor = load / (asked[total > 0] / total[total > 0]).max()
    value = factor * tenants * float((usual * amount * plan.value).sum())
    rate = np.where(endless & (plan.mix > 0), np.inf, factor * plan.mix)
    return rate, float(factor) if endless.any() else 1.0, value


def _drawn(tariff: Tariff, steps: int, rngs: Sequence[np.random.Generator]) -> Floats:
    """A tariff's course in each world, `[E, T]`."""
    found = np.full((len(rngs), steps), tariff.mean)
    if tariff.season is not None:
        wave = np.sin(2 * np.pi * (np.arange(steps) + tariff.season.phase) / tariff.season.period)
        found *= 1 + tariff.season.amplitude * wave
    if tariff.cv:
        deviation = drawn_by(rngs, lambda rng: rng.standard_normal(steps))
        fresh = np.sqrt(1 - tariff.rho**2)
        for step in range(1, steps):
            deviation[:, step] = tariff.rho * deviation[:, step - 1] + fresh * deviation[:, step]
        log_variance = np.log1p(tariff.cv**2)
        found *= np.exp(np.sqrt(log_variance) * deviation - log_variance / 2)
    return found
