"""What batteries do with what is asked of them: whatever is asked, what is done is possible.

Power is measured at the grid: charging `c` MW for `h` hours stores `h * charging * c`, giving `d` takes
`h * d / discharging` out of what is stored. What is asked is cut

1. to what the battery can: its power, the room it has, what it has stored;
2. to what the connection carries, all who give alike, and all who take alike;
3. for who takes, to what there is beyond demand: batteries never take what load would go without.

Each cut multiplies by a number from 0 to 1, so that what was kept before is kept after: 0 or more, and less than power
and room and store allow. After the second the sums are within the connection, after the third the sum of what is taken
is at most what there is. So stored energy stays within 0 and what a battery holds, and batteries never cause lost load.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Batteries:
    """The batteries of `B` worlds, `[B, A]` each; what is not there has no power and no energy.

    Attributes:
        power, energy: [MW], [MWh].
        charging, discharging: Efficiencies.
        wear: [currency a MWh given].
        worth: What stored energy counts [currency a MWh stored].
        stored: [MWh].
    """

    power: Floats
    energy: Floats
    charging: Floats
    discharging: Floats
    wear: Floats
    worth: Floats
    stored: Floats

    @classmethod
    def none(cls, worlds: int, batteries: int) -> Batteries:
        """No batteries."""
        shape = (worlds, batteries)
        return cls(*(np.zeros(shape) for _ in range(2)), *(np.ones(shape) for _ in range(2)),
                   *(np.zeros(shape) for _ in range(3)))  # fmt: skip

    def room(self, hours: Floats) -> Floats:
        """Most that each can take in a step of so many hours `[B]` [MW]."""
        return np.minimum(self.power, (self.energy - self.stored) / (self.charging * hours[:, None]))

    def supply(self, hours: Floats) -> Floats:
        """Most that each can give in a step [MW]."""
        return np.minimum(self.power, self.stored * self.discharging / hours[:, None])

    def possible(self, asked: Floats, hours: Floats, connection: Floats, spare: Floats) -> tuple[Floats, Floats]:
        """What is taken and given where this is asked for, `[B, A]` [MW].

        Args:
            asked: To take where above 0, to give where below [MW], `[B, A]`.
            hours: Length of a step, `[B]`.
            connection: Most that all together take, or give, `[B]` [MW].
            spare: What generation could give beyond demand, `[B]`; below 0 where it is short [MW].
        """
        taken = np.minimum(np.maximum(asked, 0.0), self.room(hours))
        given = np.minimum(np.maximum(-asked, 0.0), self.supply(hours))
        given = _within(given, connection)
        taken = _within(taken, np.minimum(connection, np.maximum(spare + given.sum(axis=1), 0.0)))
        return taken, given

    def move(self, taken: Floats, given: Floats, hours: Floats) -> Floats:
        """Stores and takes out; by how much what is stored changed, `[B, A]` [MWh]."""
        before = self.stored
        after = before + hours[:, None] * (self.charging * taken - given / self.discharging)
        self.stored = np.clip(after, 0.0, self.energy)  # but for rounding it is
        return self.stored - before


def _within(amounts: Floats, most: Floats) -> Floats:
    """Amounts `[B, A]`, cut alike where their sum is more than `most`, `[B]`."""
    total = amounts.sum(axis=1)
    over = total > most
    share = np.where(over, most, 1.0) / np.where(over, total, 1.0)
    return amounts * share[:, None]
