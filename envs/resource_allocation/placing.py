"""Places tasks on machines: whatever is asked for, what is granted fits.

Machines of a kind are one pool, and tasks are many and small, so that what is granted is a number of tasks and not a
packing. A *pass* asks every pool for as much as fits there of what a job still lacks, in proportion to what would fit
alone; where a pool is asked for more of a resource than it has left, all who need that resource get the same share of
what they asked. So granted is never more than there is (proof: of a resource `r` of which `L` is asked and `F` is left,
a job gets at most the share `F / L` of its part, so that all together get at most `F`), and further passes hand out
what a scarce resource left over of the others.

What a task takes, and where it can run, is its kind's. So is all that a pass reckons but one number, the *part* that a
job takes of what would fit: pools are shared among a few kinds of jobs, however many jobs there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
ENDLESS = 1e200
"""So many tasks run on a unit of what they do not need."""


@dataclass(frozen=True)
class Kinds:
    """What jobs are, of `B` worlds with `K` kinds each.

    Attributes:
        of: Kind of each of `N` jobs, all worlds' kinds numbered through: `world * K + kind`, `[N]`.
        needs: What a task takes, `[B, R, K]`.
        allowed: Where it can run, `[B, M, K]`.
    """

    of: Ints
    needs: Floats
    allowed: Bools

    def each(self, table: Floats) -> Floats:
        """What a table by kind, `[B, K]`, says of each job, `[N]`."""
        return table.take(self.of)

    def on_machines(self, table: Floats) -> Floats:
        """What a table by machines and kind, `[B, M, K]`, says of each job, `[M, N]`."""
        return table.swapaxes(0, 1).reshape(table.shape[1], -1).take(self.of, axis=1)

    def together(self, amounts: Floats) -> Floats:
        """Sums over the jobs of each kind, `[N]` to `[B, K]`; job after job, so that no world hears of another."""
        worlds, _, kinds = self.needs.shape
        found: Any = np.bincount(self.of, amounts, worlds * kinds)
        return found.reshape(worlds, kinds)

    def by_machine(self, granted: Floats) -> Floats:
        """Sums over the jobs of each kind of what they have on machines, `[M, N]` to `[B, M, K]`."""
        return np.stack([self.together(on) for on in granted], axis=1)


def placed(requests: Floats, gangs: Floats, kinds: Kinds, capacity: Floats, passes: int = 3) -> Floats:
    """What is granted on each kind of machine, `[M, N]` [tasks].

    Args:
        requests: Tasks that each job is to run, `[N]`, 0 or more.
        gangs: Fewest tasks that can run, `[N]`; who would get fewer gets none.
        kinds: What the jobs are.
        capacity: What all machines of a kind have together, `[B, M, R]`.
        passes: How often what is left is handed out; once more after gangs that are short have given back.
    """
    wanted = requests * ((requests >= gangs) & (requests > 0))
    found, free, each = np.zeros(len(wanted)), capacity, per_unit(kinds.needs)
    parts, rooms = np.zeros((passes, len(wanted))), np.zeros((passes, *kinds.allowed.shape))
    for number, (part, room) in enumerate(zip(parts, rooms, strict=True)):
        room[...] = fitting(each, kinds.allowed, free)
        fits = np.maximum(kinds.each(np.einsum("bmk->bk", room)), 1.0 / ENDLESS)
        np.minimum(np.maximum(wanted - found, 0.0) / fits, 1.0, out=part)
        asked = kinds.together(part)[:, None]
        room *= _shared(loads(room * asked, kinds.needs), free, kinds.needs)
        if number == passes - 1:
            break
        found += part * kinds.each(np.einsum("bmk->bk", room))
        if number == passes - 2:  # what gangs that are short give back is handed out once more
            enough = found >= gangs * (1 - 1e-9)
            for kept in (parts, found, wanted):
                kept *= enough
            taken = np.einsum("pbmk,pbk->bmk", rooms, np.stack([kinds.together(part) for part in parts]))
            free = np.maximum(capacity - loads(taken, kinds.needs), 0.0)
        else:
            free = np.maximum(free - loads(room * asked, kinds.needs), 0.0)
    granted = np.zeros((rooms.shape[2], len(wanted)))
    for part, room in zip(parts, rooms, strict=True):
        granted += part * kinds.on_machines(room)
    return granted


def loads(granted: Floats, needs: Floats) -> Floats:
    """What tasks take of each kind of machine, `[B, M, R]`.

    Args:
        granted: Tasks of each of `X` jobs, or of all jobs of each of `X` kinds, on each kind of machine, `[B, M, X]`.
        needs: What a task takes, `[B, R, X]`.
    """
    found: Floats = np.matmul(granted, needs.swapaxes(1, 2))  # world by world, whatever B is
    return found


def per_unit(needs: Floats) -> Floats:
    """Tasks that a unit of each resource is enough for, `[B, R, K]`; as good as infinite where none is needed."""
    return 1.0 / np.maximum(needs, 1.0 / ENDLESS)


def fitting(each: Floats, allowed: Bools, free: Floats) -> Floats:
    """How many tasks of each kind would fit on each kind of machine if they were alone, `[B, M, K]`.

    Args:
        each: As `per_unit` has it, `[B, R, K]`.
        allowed: Where they can run, `[B, M, K]`.
        free: What is left, `[B, M, R]`.
    """
    there = np.maximum(free, 1e-150)  # of what a job does not need none is enough
    found = there[:, :, 0, None] * each[:, None, 0]
    for resource in range(1, each.shape[1]):
        np.minimum(found, there[:, :, resource, None] * each[:, None, resource], out=found)
    found *= allowed
    return found


def _shared(load: Floats, free: Floats, needs: Floats) -> Floats:
    """Share of what it asks that a kind gets of machines, `[B, M, K]`: that of the scarcest resource it needs."""
    share, spared = np.minimum(free / np.maximum(load, 1e-200), 1.0), needs <= 0
    least = np.ones((*free.shape[:2], needs.shape[2]))
    for resource in range(needs.shape[1]):
        np.minimum(least, np.maximum(share[:, :, resource, None], spared[:, None, resource]), out=least)
    return least


def evicted(granted: Floats, kinds: Kinds, priority: Ints, capacity: Floats) -> Floats:
    """What keeps running where tasks together use more than there is, `[M, N]`: the lowest priorities go first.

    Args:
        granted: Tasks on each kind of machine, `[M, N]`.
        kinds: What the jobs are; `needs` is what a task really uses.
        priority: Of each kind, `[B, K]`; of one priority all give up the same share.
        capacity: What there is, `[B, M, R]`.
    """
    tasks = kinds.by_machine(granted)
    kept = np.ones_like(tasks)
    for level in range(int(priority.max(initial=0)) + 1):
        over = loads(kept * tasks, kinds.needs) - capacity
        too_much = over > 1e-12 * capacity
        if not too_much.any():
            break
        these = (priority == level)[:, None]
        own = loads(kept * tasks * these, kinds.needs)
        share = np.where(too_much & (own > 0), over / np.where(own > 0, own, 1.0), 0.0)
        kept *= 1.0 - np.minimum(share.max(axis=2), 1.0)[..., None] * these
    return granted * kinds.on_machines(kept)
