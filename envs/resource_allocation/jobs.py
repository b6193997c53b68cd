"""The jobs in hand, one after the other: most slots are empty, and only what lies in them is reckoned with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from envs.resource_allocation.placing import Kinds
from envs.resource_allocation.plan import Floats, Ints, Plan
from envs.resource_allocation.slots import Slots


@dataclass(frozen=True)
class Jobs:
    """The `N` jobs that lie in the slots of `B` worlds, in the order of their slots; copies, `[N]` each.

    Sums are those of `bincount`, which adds job after job: what a world comes to does not depend on other worlds.

    Attributes:
        shape: Worlds, tenants and slots of each, `B`, `A` and `J`.
        place: The slot of each job, all worlds' and tenants' slots numbered through.
        tenant: Whose it is, all worlds' tenants numbered through.
        world: Its world.
        kind, left, work, due, since, width, granted, value, dominant, draws, gang, checkpoint, priority: As in `Slots`.
    """

    shape: tuple[int, int, int]
    place: Ints
    tenant: Ints
    world: Ints
    kind: Ints
    left: Floats
    work: Floats
    due: Floats
    since: Ints
    width: Floats
    granted: Floats
    value: Floats
    dominant: Floats
    draws: Floats
    gang: Floats
    checkpoint: Floats
    priority: Ints

    @classmethod
    def of(cls, slots: Slots) -> Jobs:
        """What lies in slots now."""
        worlds, tenants, each = slots.there.shape
        place = np.flatnonzero(slots.there)
        tenant = place // each
        return cls(
            (worlds, tenants, each),
            place,
            tenant,
            tenant // tenants,
            slots.kind.take(place),
            slots.left.take(place),
            slots.work.take(place),
            slots.due.take(place),
            slots.since.take(place),
            slots.width.take(place),
            slots.granted.take(place),
            slots.value.take(place),
            slots.dominant.take(place),
            slots.draws.take(place),
            slots.gang.take(place),
            slots.checkpoint.take(place),
            slots.priority.take(place),
        )

    @cached_property
    def usable(self) -> Floats:
        """Tasks that could run in a step: no more than there is work for."""
        return np.minimum(self.width, self.left)

    @cached_property
    def fewest(self) -> Floats:
        """Tasks with fewer of which none runs: the gang's, or the last ones that there is work for, `[N]`."""
        return np.minimum(self.gang, self.left)

    @cached_property
    def takes(self) -> Floats:
        """Least time that each job still takes [steps]; 0 of one that never ends."""
        return np.where(np.isinf(self.left), 0.0, self.left) / self.width

    @cached_property
    def count(self) -> Ints:
        """How many there are in each world, `[B]`."""
        return np.bincount(self.world, minlength=self.shape[0])

    def kinds(self, plan: Plan) -> Kinds:
        """What they are, of a cluster's kinds of jobs."""
        needs, allowed = (
            np.ascontiguousarray(plan.needs.swapaxes(1, 2)),
            np.ascontiguousarray(plan.allowed.swapaxes(1, 2)),
        )
        return Kinds(self.world * plan.width.shape[1] + self.kind, needs, allowed)

    def by_tenant(self, amounts: Floats) -> Floats:
        """Sums of each tenant's jobs, `[B, A]`."""
        worlds, tenants, _ = self.shape
        found: Any = np.bincount(self.tenant, amounts, worlds * tenants)
        return found.reshape(worlds, tenants)

    def by_world(self, amounts: Floats) -> Floats:
        """Sums of each world's jobs, `[B]`."""
        found: Any = np.bincount(self.world, amounts, self.shape[0])
        return found

    def laid(self, amounts: Floats) -> Floats:
        """What is so much of each job as it lies in slots, `[B, A, J]`: 0 where they are empty."""
        found = np.zeros(self.shape)
        found.put(self.place, amounts)
        return found
