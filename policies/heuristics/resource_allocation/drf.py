"""Dominant resource fairness by progressive filling, many clusters at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FULL = 1e-12
"""Share of a resource that counts as none left."""


def drf(demands: Floats, caps: Floats, capacity: Floats, weights: Floats | None = None) -> Floats:
    """Tasks that each user gets, `[B, A]`, in fractions if need be.

    All dominant shares grow at the same pace; a user stops when it has all it wants, or when a resource that it needs
    is used up (Ghodsi et al. 2011, "Dominant resource fairness", section 4, for divisible tasks). Every round stops at
    least one user in every cluster that still grows, so that there are as many rounds as users at most.

    Args:
        demands: What a task takes, `[B, A, R]`.
        caps: Most tasks that a user wants, `[B, A]`.
        capacity: What there is, `[B, R]`.
        weights: How fast a user's dominant share grows beside others', `[B, A]`; alike if None.
    """
    total = capacity[:, None]
    shares = np.where(demands > 0, demands / np.where(total > 0, total, 1e-300), 0.0)
    dominant = shares.max(axis=2)
    pace = np.where(dominant > 0, 1.0 / np.where(dominant > 0, dominant, 1.0), 0.0)  # tasks for a whole dominant share
    if weights is not None:
        pace = pace * weights
    got, left = np.zeros_like(caps), np.where(capacity > 0, 1.0, 0.0)
    growing = (caps > 0) & (dominant > 0)
    for _ in range(caps.shape[1] + capacity.shape[1]):
        growing &= ~((shares > 0) & (left <= FULL)[:, None]).any(axis=2)
        if not growing.any():
            break
        speed = np.where(growing, pace, 0.0)
        used = (speed[..., None] * shares).sum(axis=1)
        until_full = np.where(used > 0, left / np.where(used > 0, used, 1.0), np.inf).min(axis=1)
        missing = np.where(growing, (caps - got) / np.where(pace > 0, pace, 1.0), np.inf).min(axis=1)
        step = np.minimum(until_full, missing)
        step = np.where(np.isfinite(step), step, 0.0)[:, None]
        got = got + step * speed
        left = np.maximum(left - step * used, 0.0)
        growing &= got < caps * (1 - FULL)
    return np.minimum(got, caps)
