"""What nodes expect of demand: its mean and deviation, by filters of what was asked for so far.

Every forecast here is a linear filter of three things: the rate that a cell moves on average, what was asked for
smoothed exponentially (Brown 1959), and what was asked for in each of the latest steps. So smoothing, a moving average
and what a regression learned differ in their coefficients only, cell by cell.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from envs.supply_chain.plan import Floats, Ints

Method = Literal["smoothed", "averaged", "learned"]
PRIOR_CV = 0.3
"""Coefficient of variation that a forecast begins with."""


class Forecasts:
    """Forecasts of every cell, and how far off they were.

    A forecast begins with the network's mean rates: a node has a history. Its variance is that of its errors, one step
    ahead, smoothed exponentially: whatever the filter, it says what it is worth.

    Args:
        worlds: Worlds `B`.
        cells: Cells `M`.
        weight: Weight of the newest step in all that is smoothed.
        window: How many of the latest steps filters look at, `W`; 0: smoothing alone.

    Attributes:
        mean: Expected demand [units a step], `[B, M]`.
        variance: Its variance, `[B, M]`.
        smoothed: Demand, smoothed, `[B, M]`.
        recent: Demand in the latest steps, the newest first, `[W, B, M]`.
        filters: Coefficients of the rate, of `smoothed` and of `recent`, `[2 + W, B, M]`.
    """

    def __init__(self, worlds: int, cells: int, weight: float, window: int = 0) -> None:
        self.weight = weight
        self.mean = np.zeros((worlds, cells))
        self.variance = np.zeros((worlds, cells))
        self.smoothed = np.zeros((worlds, cells))
        self.recent = np.zeros((window, worlds, cells))
        self.filters = np.zeros((2 + window, worlds, cells))
        self._rates = np.zeros((worlds, cells))

    def begin(self, worlds: Ints, rates: Floats) -> None:
        """Begins anew, as if all had been as it is on average."""
        self._rates[worlds] = self.mean[worlds] = self.smoothed[worlds] = rates
        self.recent[:, worlds] = rates
        self.variance[worlds] = (PRIOR_CV * rates) ** 2

    def see(self, demand: Floats) -> None:
        """Takes in what was asked of each cell in a step."""
        self.variance += self.weight * ((demand - self.mean) ** 2 - self.variance)
        self.smoothed += self.weight * (demand - self.smoothed)
        if not len(self.recent):
            self.mean = self.smoothed
            return
        self.recent = np.concatenate([demand[None], self.recent[:-1]])
        found = self.filters[0] * self._rates + self.filters[1] * self.smoothed
        found += np.einsum("wbm,wbm->bm", self.filters[2:], self.recent)
        self.mean = np.maximum(found, 0.0)

    _TABLES = ("mean", "variance", "smoothed", "recent", "_rates")

    def get_state(self) -> dict[str, Any]:
        """All tables, copied; filters follow from the networks."""
        return {name: getattr(self, name).copy() for name in self._TABLES}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name in self._TABLES:
            setattr(self, name, state[name].copy())
