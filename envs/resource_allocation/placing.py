"""Places tasks on machines: whatever is asked for, what is granted fits.

Machines of a kind are one pool, and tasks are many and small, so that what is granted is a number of tasks and not a
packing. A *pass* asks every pool for as much as fits there of what a job still lacks, in proportion to what would fit
alone; where a pool is asked for more of a resource than it has left, all who need that resource get the same share of
what they asked. So granted is never more than there is (proof: of a resource `r` of which `L` is asked and `F` is left,
a job gets at most the share `F / L` of its part, so that all together get at most `F`), and further passes hand out
what a scarce resource left over of the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ENDLESS = 1e200
"""So many tasks run on a unit of what they do not need."""


def placed(requests: Floats, needs: Floats, allowed: Bools, capacity: Floats, gangs: Floats, passes: int = 3) -> Floats:
    """What is granted on each kind of machine, `[B, M, X]` [tasks].

    Args:
        requests: Tasks that each job is to run, `[B, X]`, 0 or more.
        needs: What a task takes, `[B, R, X]`.
        allowed: Where it can run, `[B, M, X]`.
        capacity: What all machines of a kind have together, `[B, M, R]`.
        gangs: Fewest tasks that can run, `[B, X]`; who would get fewer gets none.
        passes: How often what is left is handed out; once more after gangs that are short have given back.
    """
    wanted = np.where((requests >= gangs) & (requests > 0), requests, 0.0)
    granted, free = np.zeros(allowed.shape), capacity.copy()
    together, each = (gangs > 0).any(), per_unit(needs)
    for number in range(passes):
        _grant(granted, free, wanted, needs, each, allowed)
        if together and number == passes - 2:  # what they give back is handed out once more
            short = granted.sum(axis=1) < gangs * (1 - 1e-9)
            granted *= ~short[:, None]
            wanted = np.where(short, 0.0, wanted)
            free = np.maximum(capacity - loads(granted, needs), 0.0)
    return granted


def loads(granted: Floats, needs: Floats) -> Floats:
    """What tasks take of each kind of machine, `[B, M, R]`."""
    found: Floats = np.matmul(granted, needs.swapaxes(1, 2))  # world by world, whatever B is
    return found


def per_unit(needs: Floats) -> Floats:
    """Tasks that a unit of each resource is enough for, `[B, R, X]`; as good as infinite where none is needed."""
    return 1.0 / np.maximum(needs, 1.0 / ENDLESS)


def fitting(each: Floats, allowed: Bools, free: Floats) -> Floats:
    """How many tasks of each job would fit on each kind of machine if it were alone, `[B, M, X]`.

    Args:
        each: As `per_unit` has it, `[B, R, X]`; a job that needs nothing fits nowhere.
        allowed: Where it can run, `[B, M, X]`.
        free: What is left, `[B, M, R]`.
    """
    there = np.maximum(free, 1e-150)  # of what a job does not need none is enough
    found = there[:, :, 0, None] * each[:, None, 0]
    for resource in range(1, each.shape[1]):
        np.minimum(found, there[:, :, resource, None] * each[:, None, resource], out=found)
    found *= allowed
    return found


def _grant(granted: Floats, free: Floats, wanted: Floats, needs: Floats, each: Floats, allowed: Bools) -> None:
    """One pass: adds to what is granted, and takes it from what is free."""
    lacking = np.maximum(wanted - granted.sum(axis=1), 0.0)
    room = fitting(each, allowed, free)
    total = room.sum(axis=1)
    room *= np.minimum(lacking / np.where(total > 0, total, 1.0), 1.0)[:, None]
    load = loads(room, needs)
    share = np.where(load > free, free / np.maximum(load, 1e-200), 1.0)
    least = np.ones_like(room)
    for resource in range(needs.shape[1]):
        if (share[:, :, resource] < 1).any():
            scarce = np.where(needs[:, None, resource] > 0, share[:, :, resource, None], 1.0)
            np.minimum(least, scarce, out=least)
    room *= least
    granted += room
    np.maximum(free - loads(room, needs), 0.0, out=free)


def evicted(granted: Floats, needs: Floats, priority: NDArray[np.int64], capacity: Floats) -> Floats:
    """What keeps running where tasks together use more than there is, `[B, M, X]`: the lowest priorities go first.

    Args:
        granted: Tasks on each kind of machine, `[B, M, X]`.
        needs: What a task really uses, `[B, R, X]`.
        priority: Of each job, `[B, X]`; of one priority all give up the same share.
        capacity: What there is, `[B, M, R]`.
    """
    kept = granted
    for level in range(int(priority.max(initial=0)) + 1):
        over = loads(kept, needs) - capacity
        if not (over > 1e-12 * capacity).any():
            return kept
        these = priority == level
        own = loads(kept * these[:, None], needs)
        share = np.clip(np.where(own > 0, over / np.where(own > 0, own, 1.0), 0.0), 0.0, 1.0).max(axis=2)
        kept = kept * (1.0 - share[:, :, None] * these[:, None])
    return kept
