"""Which transitions are looked at most often: those that the last look had most to learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.base import FloatArray, IntArray

LEAST = 1e-3
"""Added to errors, so that nothing is never looked at again."""


class Priorities:
    """Prioritised replay, proportional (Schaul et al. 2016, arXiv:1511.05952, equations 1 and 3.4).

    What is drawn with probability `P(i) = p_i^a / sum_k p_k^a`, where `p` is the size of the last error, counts
    `(n P(i))^-b`: if `b` is 1, means are those of draws that are all alike. What is new has the largest priority there
    is.

    Probabilities are found by their running sum over all frames, made anew only after something has changed: an
    iteration draws many minibatches from one.

    Args:
        worlds: Rings `W`.
        size: Frames of each.
        exponent: `a`, from 0, all alike, to 1.
        correction: `b`, from 0, none, to 1.

    Attributes:
        shares: `p^a` of each frame, 0 where there is nothing to draw, `[W, size]`.
    """

    def __init__(self, worlds: int, size: int, exponent: float, correction: float) -> None:
        self.exponent, self.correction = exponent, correction
        self.shares = np.zeros((worlds, size), np.float32)
        self._sums: NDArray[np.float64] | None = None

    def put(self, worlds: IntArray, places: IntArray, *, drawable: bool) -> None:
        """Frames that are new: the largest priority there is, or none where nothing was played."""
        self.shares[worlds, places] = max(1.0, float(self.shares.max(initial=0.0))) if drawable else 0.0
        self._sums = None

    def learned(self, worlds: IntArray, places: IntArray, errors: FloatArray) -> None:
        """Takes in by how much what was drawn was wrong, `[N]`; what is not finite says nothing."""
        known = np.isfinite(errors)
        worlds, places = worlds[known], places[known]
        self.shares[worlds, places] = (np.abs(errors[known]) + LEAST) ** self.exponent
        self._sums = None

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Worlds and places of frames, `[N]` each: one from each of `N` equal parts of all there is to draw."""
        sums = self._running()
        at = (np.arange(rows) + rng.random(rows)) / rows * sums[-1]
        found = np.minimum(np.searchsorted(sums, at, side="right"), sums.size - 1)
        worlds, places = np.divmod(found, self.shares.shape[1])
        return worlds, places

    def weights(self, worlds: IntArray, places: IntArray, count: int) -> NDArray[np.float32]:
        """What draws count, `[N]`, the largest of them 1.

        Args:
            worlds: Worlds of the frames, `[N]`.
            places: Their places.
            count: Frames there are, `n`.
        """
        chances = self.shares[worlds, places] / self._running()[-1]
        found = (count * chances) ** -self.correction
        return (found / found.max()).astype(np.float32)

    def _running(self) -> NDArray[np.float64]:
        if self._sums is None:
            self._sums = self.shares.ravel().cumsum(dtype=np.float64)
        return self._sums
