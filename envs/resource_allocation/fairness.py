"""How evenly something is shared, in one number.

The alpha-fair welfare of Mo and Walrand (2000) is judged by its *equally distributed equivalent* (Atkinson 1970): the
level which, if all had it, would be as good. It is in the units of what is shared, lies between the least and the mean,
and is the mean for alpha 0, the geometric mean for 1 (Nash), the harmonic mean for 2, and the least for infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST = 0.01
"""Levels below count as this much, so that one who gets nothing for a moment does not outweigh all else for ever."""
LARGEST = 50.0
"""From this alpha on the least decides."""


def equivalent(levels: Floats, alpha: Any, who: NDArray[np.bool_] | None = None) -> Floats:
    """The equally distributed equivalent, `[...]`.

    Args:
        levels: What each has, `[..., A]`, 0 or more.
        alpha: How averse to inequality, `[...]`, 0 or more.
        who: Who counts, `[..., A]`; all if None. Where nobody does, it is 1.
    """
    there = np.ones(levels.shape, np.bool_) if who is None else who
    alpha = np.asarray(alpha, np.float64)[..., None]
    count = np.maximum(there.sum(axis=-1, keepdims=True), 1)
    kept = np.where(there, np.maximum(levels, LEAST), 1.0)
    least = np.where(there, kept, np.inf).min(axis=-1, initial=np.inf, keepdims=True)
    least = np.where(np.isfinite(least), least, 1.0)
    shares = kept / least  # one or more, so that large powers do not overflow
    power = 1.0 - np.minimum(alpha, LARGEST)
    geometric = np.abs(power) < 1e-9
    safe = np.where(geometric, 1.0, power)
    utility = np.empty_like(shares)
    np.log(shares, out=utility, where=geometric)
    np.power(shares, safe, out=utility, where=~geometric)
    summed = np.where(there, utility, 0.0).sum(axis=-1, keepdims=True) / count
    whole = np.where(geometric, np.exp(np.where(geometric, summed, 0.0)), np.maximum(summed, 1e-300) ** (1.0 / safe))
    found: Floats = np.where(alpha >= LARGEST, least, least * whole)[..., 0]
    return found
