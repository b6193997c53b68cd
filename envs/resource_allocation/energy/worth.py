"""What stored energy is worth at every level of charge: the optimal plan of batteries that move the price.

With concave values the best use of energy is the dearest first. In one step a battery that holds `e` can keep energy
for later, sell it now, or not buy: the value of a further megawatt-hour is the price that selling one more would fetch,
what buying one less would save, or what it will be worth in the next step. Where all of it comes in small cells of
energy, each with its value, the merged list of all uses, the dearest first, is the derivative of the value function,
moved by the cells that can be bought: dynamic programming is sorting (an infimal convolution of convex functions adds
their slopes in order; Rockafellar 1970, theorem 16.4). It is exact but for the size of cells, and has no grid of
actions. Operators of reservoirs know these values as water values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.resource_allocation.energy.plan import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Prices:
    """Marginal prices of each step as a function of what is taken, tabulated, `[B, H, X]` [currency a MWh].

    Attributes:
        table: The price where `low + x * step` MW are taken beyond what is there anyway, not falling in `x`.
        low, step: `[B]` [MW].
    """

    table: Floats
    low: Floats
    step: Floats

    def at(self, ahead: int, taken: Floats) -> Floats:
        """The price of a step where so much is taken, `[B, M]`, between what is tabulated by interpolation."""
        table = self.table[:, ahead]
        place = np.clip((taken - self.low[:, None]) / self.step[:, None], 0.0, table.shape[1] - 1.000001)
        whole = place.astype(np.int64)
        row = np.arange(len(table))[:, None]
        below = table[row, whole]
        found: Floats = below + (place - whole) * (table[row, whole + 1] - below)
        return found


@dataclass(frozen=True)
class Store:
    """One battery of each of `B` worlds, `[B]` each; several that are alike count as one.

    Attributes:
        power, energy: [MW], [MWh]; 0 where there is none.
        charging, discharging: Efficiencies.
        wear: [currency a MWh given].
        worth: What is left at the end is worth [currency a MWh stored].
        stored: [MWh].
    """

    power: Floats
    energy: Floats
    charging: Floats
    discharging: Floats
    wear: Floats
    worth: Floats
    stored: Floats


class Values:
    """The value of a further megawatt-hour in store, step by step.

    Args:
        store: The batteries.
        prices: Of each step.
        others: What others take in each step, `[B, H]` [MW].
        hours: Length of a step, `[B]`.
        end: Steps until the episode ends, `[B]`; what comes after is not planned.
        cells: Into how many a battery's energy is divided.

    Attributes:
        worth: Before the first step, the first cell of a battery first, `[B, cells]`, not rising [currency a MWh].
        later: The same after the first step.
    """

    def __init__(self, store: Store, prices: Prices, others: Floats, hours: Floats, end: Ints, cells: int) -> None:
        self._there = there = store.energy > 0
        self._cell = np.where(there, store.energy, 1.0) / cells
        self._store, self._end, self._cells = store, end, cells
        full = np.where(there, store.power, 0.0)
        # Cells that can be bought and sold in a step: whole ones, so that a plan's power may be off by half a cell's.
        self._buys = np.maximum(np.rint(full * hours * store.charging / self._cell), 1).astype(np.int64)
        self._sells = np.maximum(np.rint(full * hours / store.discharging / self._cell), 1).astype(np.int64)
        self._full = full
        most_in, most_out = int(self._buys.max()), int(self._sells.max())
        number_in, number_out = np.arange(most_in), np.arange(most_out)
        in_cells, out_cells = (number_in + 0.5) / self._buys[:, None], (number_out + 0.5) / self._sells[:, None]
        powers = np.concatenate([in_cells, -out_cells], axis=1) * full[:, None]
        missing = np.concatenate([number_in >= self._buys[:, None], number_out >= self._sells[:, None]], axis=1)
        kept = self._buys[:, None] + np.arange(cells)
        self._orders: list[Ints] = []
        self._most_in = most_in
        worth = np.repeat(store.worth[:, None], cells, axis=1)
        self.later = worth
        for ahead in reversed(range(others.shape[1])):
            self.later = worth
            value = prices.at(ahead, others[:, ahead, None] + powers)
            value[:, :most_in] /= store.charging[:, None]
            value[:, most_in:] = (value[:, most_in:] - store.wear[:, None]) * store.discharging[:, None]
            uses = np.concatenate([worth, np.where(missing, -np.inf, value)], axis=1)
            order = np.argsort(-uses, axis=1, kind="stable")
            self._orders.append(order)
            after = np.take_along_axis(uses, np.take_along_axis(order, kept, axis=1), axis=1)
            worth = np.where((ahead < end)[:, None], after, worth)
        self._orders.reverse()
        self.worth = worth

    def plan(self, steps: int | None = None) -> Floats:
        """What is taken, or given where below 0, in the first steps, `[B, steps]`; in all if None [MW]."""
        orders = self._orders[:steps]
        found = np.zeros((len(self._full), len(orders)))
        level = np.clip(self._store.stored / self._cell, 0.0, self._cells)
        first = self._cells + self._most_in
        for ahead, order in enumerate(orders):
            taken, given = _running((order >= self._cells) & (order < first)), _running(order >= first)
            at = level + self._buys
            goes_on = (ahead < self._end) & self._there
            bought = np.where(goes_on, self._buys - _between(taken, at), 0.0)
            sold = np.where(goes_on, _between(given, at), 0.0)
            found[:, ahead] = (bought / self._buys - sold / self._sells) * self._full
            level = np.clip(level + bought - sold, 0.0, self._cells)
        return found


def _running(which: NDArray[np.bool_]) -> Floats:
    """How many there are up to each place, beginning before the first, `[B, N + 1]`."""
    found = np.zeros((len(which), which.shape[1] + 1))
    np.cumsum(which, axis=1, out=found[:, 1:])
    return found


def _between(counts: Floats, at: Floats) -> Floats:
    """Running counts `[B, N + 1]` at a place between whole numbers, `[B]`."""
    whole = np.minimum(at.astype(np.int64), counts.shape[1] - 2)
    row = np.arange(len(counts))
    found: Floats = counts[row, whole] + (at - whole) * (counts[row, whole + 1] - counts[row, whole])
    return found
