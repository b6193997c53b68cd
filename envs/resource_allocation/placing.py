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
    together = (gangs > 0).any()
    for number in range(passes):
        _grant(granted, free, wanted, needs, allowed)
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


def fitting(needs: Floats, allowed: Bools, free: Floats) -> Floats:
    """How many tasks of each job would fit on each kind of machine if it were alone, `[B, M, X]`."""
    found = np.full(allowed.shape, np.inf)
    with np.errstate(divide="ignore"):
        tasks = np.where(needs > 0, 1.0 / needs, np.inf)  # for a unit of each resource
    for resource in range(needs.shape[1]):
        there = free[:, :, resource, None]
        # Nought times infinity is what a job lacks nothing of: it is no limit.
        np.minimum(found, np.where(there > 0, there, 1e-300) * tasks[:, None, resource], out=found)
    return np.where(allowed & np.isfinite(found), found, 0.0)


def _grant(granted: Floats, free: Floats, wanted: Floats, needs: Floats, allowed: Bools) -> None:
    """One pass: adds to what is granted, and takes it from what is free."""
    lacking = np.maximum(wanted - granted.sum(axis=1), 0.0)
    room = fitting(needs, allowed, free)
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
