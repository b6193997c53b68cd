"""What goes wrong: nodes and lanes that stand still, lead times that grow, demand that surges.

Each is a two-state Markov chain: where all is well it breaks with probability `chance` a step, and is mended with
probability `1 / length`, so that it stands still for `length` steps on average and a share
`chance / (chance + 1 / length)` of the time. Every episode begins with all well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from envs.streams import drawn_by

Share = Annotated[float, Field(ge=0, le=1)]


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


class Outage(Disruption):
    """A node makes and sends less, or nothing; a lane takes nothing."""

    strength: Share = Field(0.0, description="Share of a node's capacity that is left; a node without a limit: 0 or 1.")


class Delay(Disruption):
    """What is sent takes longer."""

    steps: int = Field(ge=1, le=20, description="How much longer [steps].")


class Surge(Disruption):
    """Customers ask for more, or less."""

    factor: float = Field(ge=0, allow_inf_nan=False, description="What demand is multiplied by.")


class Disruptions(BaseModel):
    """All that can go wrong in a task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: Outage | None = None
    lanes: Disruption | None = None
    delays: Delay | None = None
    surges: Surge | None = None
    alarm: bool = Field(True, description="Whether agents see what is wrong with their own node and its lanes.")

    @classmethod
    def none(cls) -> Self:
        """All is well."""
        return cls()
