"""What stored energy is worth at every level of charge: the optimal plan of a battery that moves the price.

With concave values the best use of energy is the dearest first. In one step a battery that holds `e` can keep energy
for later, sell it now, or not buy: the value of a further megawatt-hour is the price that selling one more would fetch,
what buying one less would save, or what it will be worth in the next step. Where all of it comes in small cells of
energy, each with its value, the merged list of all uses, the dearest first, is the derivative of the value function,
moved by the cells that can be bought: dynamic programming is sorting (an infimal convolution of convex functions adds
their slopes in order; Rockafellar 1970, theorem 16.4). It is exact but for the size of cells, and has no grid of
actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
    """One battery of each of `B` worlds, `[B]` each; those of a kind together are one.

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


def planned(store: Store, prices: Prices, others: Floats, hours: Floats, end: NDArray[np.int64], cells: int) -> Floats:
    """The best plan: what is taken, or given where below 0, `[B, H]` [MW].

    Args:
        store: The batteries; all worlds' have the same efficiencies and duration.
        prices: Of each step.
        others: What others take in each step, `[B, H]` [MW].
        hours: Length of a step, `[B]`.
        end: Steps until the episode ends, `[B]`; what comes after is not planned.
        cells: Into how many the battery's energy is divided.
    """
    horizon = others.shape[1]
    there = store.energy > 0
    cell = np.where(there, store.energy, 1.0) / cells
    full = np.where(there, store.power, 0.0) * hours
    # How many cells can be bought and sold in a step, the same in all worlds in which there is a battery.
    which = int(np.argmax(there))
    buys = max(round(float(full[which] * store.charging[which] / cell[which])), 1) if there.any() else 1
    sells = max(round(float(full[which] / store.discharging[which] / cell[which])), 1) if there.any() else 1
    middle_in = (np.arange(buys) + 0.5) / buys * (full / hours)[:, None]
    middle_out = (np.arange(sells) + 0.5) / sells * (full / hours)[:, None]
    worth = np.repeat(store.worth[:, None], cells, axis=1)
    taken, given = [], []
    for ahead in reversed(range(horizon)):
        base = others[:, ahead, None]
        price = prices.at(ahead, base + np.concatenate([middle_in, -middle_out], axis=1))
        spared = price[:, :buys] / store.charging[:, None]
        sold = (price[:, buys:] - store.wear[:, None]) * store.discharging[:, None]
        uses = np.concatenate([worth, sold, spared], axis=1)
        order = np.argsort(-uses, axis=1, kind="stable")
        zero = np.zeros((len(uses), 1))
        taken.append(np.concatenate([zero, np.cumsum(order >= cells + sells, axis=1)], axis=1))
        given.append(np.concatenate([zero, np.cumsum((order >= cells) & (order < cells + sells), axis=1)], axis=1))
        after = np.take_along_axis(uses, order, axis=1)[:, buys : buys + cells]
        worth = np.where((ahead < end)[:, None], after, worth)
    taken.reverse()
    given.reverse()
    plan, level = np.zeros(others.shape), np.clip(store.stored / cell, 0.0, cells)
    for ahead in range(horizon):
        at = level + buys
        bought, sold_now = buys - _between(taken[ahead], at), _between(given[ahead], at)
        goes_on = (ahead < end) & there
        bought, sold_now = np.where(goes_on, bought, 0.0), np.where(goes_on, sold_now, 0.0)
        plan[:, ahead] = (bought / buys - sold_now / sells) * full / hours
        level = np.clip(level + bought - sold_now, 0.0, cells)
    return plan


def _between(counts: Floats, at: Floats) -> Floats:
    """Running counts `[B, N + 1]` at a place between whole numbers, `[B]`."""
    whole = np.minimum(at.astype(np.int64), counts.shape[1] - 2)
    row = np.arange(len(counts))
    found: Floats = counts[row, whole] + (at - whole) * (counts[row, whole + 1] - counts[row, whole])
    return found
