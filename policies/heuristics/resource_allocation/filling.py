"""Gives jobs what they ask for, one after the other, as long as there is room: what a central scheduler does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.resource_allocation.placing import Bools, Floats


def filled(
    requests: Floats, order: NDArray[np.int64], needs: Floats, allowed: Bools, capacity: Floats, gangs: Floats
) -> Floats:
    """Tasks that each job gets, `[B, X]`.

    Args:
        requests: Tasks that it asks for, `[B, X]`.
        order: Numbers of jobs, the first to be served first, `[B, X]`.
        needs: What a task takes, `[B, R, X]`.
        allowed: Where it runs, `[B, M, X]`.
        capacity: What machines of each kind have, `[B, M, R]`.
        gangs: Fewest tasks that can run, `[B, X]`.
    """
    worlds, free, found = np.arange(len(requests)), capacity.copy(), np.zeros_like(requests)
    for place in range(requests.shape[1]):
        job = order[:, place]
        wanted, need = requests[worlds, job], needs[worlds, :, job][:, None]
        room = np.where(need > 0, free / np.where(need > 0, need, 1.0), np.inf).min(axis=2)
        room = np.where(allowed[worlds, :, job] & np.isfinite(room), room, 0.0)
        total = room.sum(axis=1)
        given = np.minimum(wanted, total)
        given = np.where(given < gangs[worlds, job] * (1 - 1e-9), 0.0, given)
        part = room * (given / np.where(total > 0, total, 1.0))[:, None]
        free = np.maximum(free - part[..., None] * need, 0.0)
        found[worlds, job] = given
    return found
