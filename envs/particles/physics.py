"""Physics of the multi-agent particle world (Lowe et al. 2017), in its numbers: damping, contacts, and how time passes.

Particles are discs of mass 1 in an unbounded plane. The particles of a world are all alike, and push each other away
where they touch. What they are pushed by beside that is their own force.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import IntArray

Array = NDArray[np.float64]

TIME_STEP = 0.1
"""Time that a step takes."""
DAMPING = 0.25
"""Share of a velocity that is lost in a step."""
CONTACT_FORCE = 100.0
"""Force of a contact for each unit of penetration."""
CONTACT_MARGIN = 0.001
"""Distance within which a contact softens: so far apart, two particles are still pushed a little."""
_TINY = 1e-12  # so close there is no telling in which direction
# Beyond 40 margins a contact is worth less than exp(-40), which no velocity of this world can tell from nothing.
_OUT_OF_TOUCH = 40 * CONTACT_MARGIN


def lengths(vectors: Array) -> Array:
    """Euclidean lengths `[…]` of vectors `[…, 2]`."""
    squares = vectors * vectors
    root: Array = np.sqrt(squares[..., 0] + squares[..., 1])
    return root


class Particles:
    """`A` particles in each of `B` worlds.

    Between particles there are `A - 1` offsets each: from particle `a` to all others, in their order, itself left out.
    They are measured once a step, for the contacts, and for whoever wants to see them.

    Args:
        num_worlds: Worlds `B`.
        count: Particles `A` of a world.
        radius: Of a particle.

    Attributes:
        positions: `[B, A, 2]`.
        velocities: Distance per unit of time, `[B, A, 2]`.
        offsets: From each particle to each other, `[B, A, A - 1, 2]`.
        distances: Lengths of the offsets, `[B, A, A - 1]`.
        reach: Distance of two centres below which particles touch.
    """

    def __init__(self, num_worlds: int, count: int, radius: float) -> None:
        self.reach = 2 * radius
        self.positions = np.zeros((num_worlds, count, 2))
        self.velocities = np.zeros((num_worlds, count, 2))
        self.offsets = np.zeros((num_worlds, count, count - 1, 2))
        self.distances = np.zeros((num_worlds, count, count - 1))
        selves, others = np.nonzero(~np.eye(count, dtype=np.bool_))
        self._selves, self._others = selves, others

    def place(self, worlds: IntArray, positions: Array, velocities: Array | float = 0.0) -> None:
        """Puts the particles of `worlds` somewhere.

        Args:
            worlds: Indices of the worlds, `[E]`.
            positions: `[E, A, 2]`.
            velocities: `[E, A, 2]`; at rest by default.
        """
        self.positions[worlds] = positions
        self.velocities[worlds] = velocities
        self._measure(worlds)

    def step(self, forces: Array) -> None:
        """Moves all particles: by the velocities they had, which then change.

        Euler's explicit method: `x += v dt` and then `v = (1 - damping) v + F dt`, so that a force shows in positions
        a step later.

        Args:
            forces: The particles' own, `[B, A, 2]`; contacts are added.
        """
        total = forces + self.contact_forces()
        self.positions += self.velocities * TIME_STEP
        self.velocities *= 1 - DAMPING
        self.velocities += total * TIME_STEP
        self._measure(slice(None))

    def contact_forces(self) -> Array:
        """What each particle is pushed by the others, `[B, A, 2]`.

        Two whose centres are `d` apart are pushed from each other by `100 m log(1 + exp((reach - d) / m))`, with the
        margin `m`: linear in how deep they are in each other, and smooth where they begin to touch. Two in the very
        same place are not pushed, for want of a direction.
        """
        near = self.distances < self.reach + _OUT_OF_TOUCH
        depth = np.zeros_like(self.distances)
        np.logaddexp(0.0, (self.reach - self.distances) / CONTACT_MARGIN, out=depth, where=near)
        push = -CONTACT_FORCE * CONTACT_MARGIN * depth / np.maximum(self.distances, _TINY)
        forces: Array = np.einsum("bao,baox->bax", push, self.offsets)
        return forces

    def touching(self) -> IntArray:
        """How many others each particle touches, int64 `[B, A]`."""
        touched: IntArray = (self.distances < self.reach).sum(axis=2)
        return touched

    def _measure(self, worlds: IntArray | slice) -> None:
        positions = self.positions[worlds]
        # Two gathers and one difference: broadcasting would go through the plane's two coordinates pair by pair.
        offsets = positions.take(self._others, axis=1) - positions.take(self._selves, axis=1)
        self.offsets[worlds] = offsets.reshape(len(positions), *self.offsets.shape[1:])
        self.distances[worlds] = lengths(offsets).reshape(len(positions), *self.distances.shape[1:])

    def get_state(self) -> dict[str, Any]:
        """Positions and velocities, in copies."""
        return {"positions": self.positions.copy(), "velocities": self.velocities.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.place(np.arange(len(self.positions)), state["positions"], state["velocities"])
