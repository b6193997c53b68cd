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
    """What is granted on each kind of machine, `[B, X, M]` [tasks].

    Args:
        requests: Tasks that each job is to run, `[B, X]`, 0 or more.
        needs: What a task takes, `[B, X, R]`.
        allowed: Where it can run, `[B, X, M]`.
        capacity: What all machines of a kind have together, `[B, M, R]`.
        gangs: Fewest tasks that can run, `[B, X]`; who would get fewer gets none.
        passes: How often what is left is handed out; once more after gangs that are short have given back.
    """
    wanted = np.where((requests >= gangs) & (requests > 0), requests, 0.0)
    granted, free = np.zeros((*requests.shape, capacity.shape[1])), capacity.copy()
    whole = gangs <= 0
    for number in range(passes):
        _grant(granted, free, wanted, needs, allowed)
        if number == passes - 2 and not whole.all():  # what they give back is handed out once more
            short = granted.sum(axis=2) < gangs * (1 - 1e-9)
            granted[short], wanted = 0.0, np.where(short, 0.0, wanted)
            free = np.maximum(capacity - loads(granted, needs), 0.0)
    return granted


def loads(granted: Floats, needs: Floats) -> Floats:
    """What tasks take of each kind of machine, `[B, M, R]`."""
    found: Floats = np.matmul(granted.swapaxes(1, 2), needs)  # world by world, whatever B is
    return found


def fitting(needs: Floats, allowed: Bools, free: Floats) -> Floats:
    """How many tasks of each job would fit on each kind of machine if it were alone, `[B, X, M]`."""
    found = np.full(allowed.shape, np.inf)
    for resource in range(needs.shape[2]):
        need = needs[:, :, resource, None]
        there = free[:, None, :, resource] / np.where(need > 0, need, 1.0)
        found = np.minimum(found, np.where(need > 0, there, np.inf))
    return np.where(allowed & np.isfinite(found), found, 0.0)


def _grant(granted: Floats, free: Floats, wanted: Floats, needs: Floats, allowed: Bools) -> None:
    """One pass: adds to what is granted, and takes it from what is free."""
    lacking = np.maximum(wanted - granted.sum(axis=2), 0.0)
    room = fitting(needs, allowed, free)
    total = room.sum(axis=2)
    asked = room * np.minimum(lacking / np.where(total > 0, total, 1.0), 1.0)[..., None]
    load = loads(asked, needs)
    share = np.where(load > free, free / np.where(load > 0, load, 1.0), 1.0)
    least = np.ones_like(asked)
    for resource in range(needs.shape[2]):
        needed = needs[:, :, resource, None] > 0
        np.minimum(least, share[:, None, :, resource], out=least, where=needed)
    asked *= least
    granted += asked
    np.maximum(free - loads(asked, needs), 0.0, out=free)


def evicted(granted: Floats, needs: Floats, priority: NDArray[np.int64], capacity: Floats) -> Floats:
    """What keeps running where tasks together use more than there is, `[B, X, M]`: the lowest priorities go first.

    Args:
        granted: Tasks on each kind of machine, `[B, X, M]`.
        needs: What a task really uses, `[B, X, R]`.
        priority: Of each job, `[B, X]`; of one priority all give up the same share.
        capacity: What there is, `[B, M, R]`.
    """
    kept = granted
    for level in range(int(priority.max(initial=0)) + 1):
        over = loads(kept, needs) - capacity
        if not (over > 1e-12 * capacity).any():
            return kept
        these = (priority == level)[..., None] & (kept > 0)
        own = loads(np.where(these, kept, 0.0), needs)
        share = np.clip(np.where(own > 0, over / np.where(own > 0, own, 1.0), 0.0), 0.0, 1.0).max(axis=2)
        kept = kept * (1.0 - np.where(these, share[:, None, :], 0.0))
    return kept
