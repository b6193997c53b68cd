"""The jobs that tenants have in hand: each lies in a slot from the step in which there is room until it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.resource_allocation.future import Future
from envs.resource_allocation.plan import Bools, Floats, Ints, Plan, Size

DONE = 1e-9
"""Work that counts as none [task-steps]."""
OF_KIND = ("value", "dominant", "draws", "gang", "checkpoint", "usage", "priority")
"""What a job has from its kind."""


@dataclass
class Slots:
    """Jobs in the slots of `B` worlds, `[B, A, J]` each; in slots that are empty all is 0.

    Attributes:
        there: Whether a job lies in it.
        kind: Kind of the job.
        left: Work that is left [task-steps].
        work: Work that it was [task-steps].
        due: Step by whose end it must be done; far away if it has no deadline.
        since: Step in which it came.
        width: Most tasks that run at once.
        granted: Tasks that ran in the last step.
        value, dominant, draws, gang, checkpoint, usage, priority: As in `Plan`.
        needs: What a task takes, `[B, R, A, J]`; of an empty slot what the last one took.
        allowed: Where it runs, `[B, M, A, J]`; the same.
        taken: How many of its jobs each tenant has had in a slot, or has lost before, `[B, A]`.
    """

    there: Bools
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
    usage: Floats
    priority: Ints
    needs: Floats
    allowed: Bools
    taken: Ints

    @classmethod
    def empty(cls, worlds: int, size: Size) -> Slots:
        """No jobs."""
        shape = (worlds, size.tenants, size.slots)
        return cls(
            there=np.zeros(shape, np.bool_),
            kind=np.zeros(shape, np.int64),
            left=np.zeros(shape),
            work=np.zeros(shape),
            due=np.zeros(shape),
            since=np.zeros(shape, np.int64),
            width=np.zeros(shape),
            granted=np.zeros(shape),
            value=np.zeros(shape),
            dominant=np.zeros(shape),
            draws=np.zeros(shape),
            gang=np.zeros(shape),
            checkpoint=np.zeros(shape),
            usage=np.zeros(shape),
            priority=np.zeros(shape, np.int64),
            needs=np.zeros((worlds, size.resources, size.tenants, size.slots)),
            allowed=np.zeros((worlds, size.machines, size.tenants, size.slots), np.bool_),
            taken=np.zeros(shape[:2], np.int64),
        )

    def clear(self, worlds: Ints) -> None:
        """Nobody has anything."""
        for array in vars(self).values():
            array[worlds] = 0

    def drop(self, places: Ints) -> None:
        """Empties slots, all worlds' and tenants' slots numbered through."""
        for name, array in vars(self).items():
            if name not in ("needs", "allowed", "taken"):
                array.reshape(-1)[places] = 0

    def fill(self, future: Future, plan: Plan, clock: Ints) -> None:
        """Puts jobs that have come by `clock` `[B]` into free slots, the first that came first.

        Args:
            future: Which jobs come.
            plan: What they are.
            clock: The step in which they can be asked for first.
        """
        worlds = np.arange(len(clock))
        waiting = np.where(future.present[worlds, clock], future.came[worlds, clock] - self.taken, 0)
        world, tenant = np.nonzero(waiting > 0)
        free = ~self.there[world, tenant]
        rank = free.cumsum(axis=1) - 1
        row, slot = np.nonzero(free & (rank < waiting[world, tenant][:, None]))
        world, tenant, rank = world[row], tenant[row], rank[row, slot]
        number = self.taken[world, tenant] + rank
        np.add.at(self.taken, (world, tenant), 1)
        kind, work, since = (getattr(future, name)[world, tenant, number] for name in ("job", "work", "at"))
        place = np.ravel_multi_index((world, tenant, slot), self.there.shape)
        row = world * plan.width.shape[1] + kind
        endless, slack = np.isinf(work), plan.slack.take(row)
        width = plan.width.take(row) * np.where(endless, future.scale[world], 1.0)
        takes = np.ceil(np.where(endless, 0.0, work) / width)
        due = since + np.where(np.isinf(slack), np.inf, np.ceil(np.where(np.isinf(slack), 0.0, slack) * takes))
        values = {"there": True, "kind": kind, "left": work, "work": work, "due": due, "since": since, "width": width}
        values |= {name: getattr(plan, name).take(row) for name in OF_KIND}
        for name, value in values.items():
            getattr(self, name).reshape(-1)[place] = value
        self.needs[world, :, tenant, slot] = plan.needs[world, kind]
        self.allowed[world, :, tenant, slot] = plan.allowed[world, kind]

    def usable(self) -> Floats:
        """Tasks that could run in a step: no more than there is work for, `[B, A, J]`."""
        return np.minimum(self.width, self.left)

    def fewest(self) -> Floats:
        """Tasks with fewer of which none runs: the gang's, or the last ones that there is work for, `[B, A, J]`."""
        return np.minimum(self.gang, self.left)

    def get_state(self) -> dict[str, Any]:
        """All of it, copied."""
        return {name: array.copy() for name, array in vars(self).items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            getattr(self, name)[...] = array
