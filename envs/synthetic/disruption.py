"""Things that go wrong by chance, last for a while, and pass: two-state Markov chains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from envs.streams import drawn_by


class Disruption(BaseModel):
    """How often something happens, how long it lasts, and how bad it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chance: float = Field(ge=0, lt=1, description="Probability that it begins in a step.")
    length: float = Field(ge=1, allow_inf_nan=False, description="How long it lasts on average [steps].")
    places: tuple[str, ...] = Field((), description="Nodes or lanes that it can happen to; none named: all.")

    def drawn(self, steps: int, names: tuple[str, ...], rngs: Sequence[np.random.Generator]) -> NDArray[np.bool_]:
        """Whether it is so, bool `[E, T, X]`, for places of the given names.

        Args:
            steps: Steps `T`.
            names: Names of the places `X`.
            rngs: Where from, for each of `E` worlds.
        """
        hit = np.array([not self.places or name in self.places for name in names], np.bool_)
        luck = drawn_by(rngs, lambda rng: rng.random((steps, len(names))))
        # One number decides both: below `chance` it begins, from `lasts` on it ends; between the two all stays, or, if
        # they lie the other way round, all changes. So a step's state is that of the last certain one, and the changes.
        lasts = 1 - 1 / self.length
        begins = luck < min(self.chance, lasts)
        certain = begins | (luck >= max(self.chance, lasts))
        clock = np.arange(1, steps + 1, dtype=np.int32)[:, None]
        last = np.maximum.accumulate(np.where(certain, clock, np.int32(0)), axis=1)
        before = np.zeros((len(rngs), 1, len(names)), np.bool_)
        begun = np.concatenate([before, begins], axis=1)
        if self.chance <= lasts:
            found: NDArray[np.bool_] = np.take_along_axis(begun, last, axis=1)
            return found & hit
        changes = (luck >= lasts) & (luck < self.chance)
        changed = np.logical_xor.accumulate(np.concatenate([before, changes], axis=1), axis=1)
        found = np.take_along_axis(begun ^ changed, last, axis=1) ^ changed[:, 1:]
        return found & hit
