"""Calls in continuous time: many first-come-first-served queues with many servers, exact from call to call.

The recursion of Kiefer and Wolfowitz (1955) for G/G/c: a call starts when it has come and the server that is free
first is free. With impatience (G/G/c+G) a call whose start would come after its caller has given up takes no server.
Among servers that are idle the one that has been so longest takes the call. What has not started when the period is
over, and has not given up, waits for the next one, in which there may be other servers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Served:
    """What became of the calls of a period, `[M, R]` each, of the `m`-th call of each queue.

    Attributes:
        start: When it was answered; of no account if it was not.
        answered: Whether it was.
        abandoned: Whether the caller gave up.
        waiting: Whether it still waits.
    """

    start: Floats
    answered: Bools
    abandoned: Bools
    waiting: Bools


def serve(came: Floats, work: Floats, until: Floats, there: Bools, free: Floats, speed: Floats, end: Floats) -> Served:
    """Plays `R` queues up to the end of a period, and moves `free` on.

    Args:
        came: When calls came, or the period began if they waited before, `[M, R]`, in the order of their turn.
        work: Time that a server of speed 1 takes for it, `[M, R]`.
        until: When its caller gives up, `[M, R]`.
        there: Whether there is such a call, `[M, R]`.
        free: When each server is free, `[R, W]`; infinite if there is none. Overwritten.
        speed: How fast it is, `[R, W]`.
        end: End of the period, `[R]`.
    """
    rows = np.arange(len(free))
    start, answered = np.zeros(came.shape), np.zeros(came.shape, np.bool_)
    for number in range(len(came)):
        first = free.argmin(axis=1)
        soonest = free[rows, first]
        begin = np.maximum(came[number], soonest)
        taken = there[number] & (begin < end) & (begin <= until[number])
        free[rows, first] = np.where(taken, begin + work[number] / speed[rows, first], soonest)
        start[number], answered[number] = begin, taken
    abandoned = there & ~answered & (until < end)
    return Served(start, answered, abandoned, there & ~answered & ~abandoned)
