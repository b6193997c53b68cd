"""What nodes expect of demand: its mean and deviation, smoothed exponentially."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.supply_chain.plan import Floats, Ints

PRIOR_CV = 0.3
"""Coefficient of variation that a forecast begins with."""


class Forecasts:
    """Forecasts of every cell.

    Exponential smoothing (Brown 1959) of the demand a step and of its squared error one step ahead. It begins with the
    network's mean rates: a node has a history.

    Args:
        worlds: Worlds `B`.
        cells: Cells `M`.
        weight: Weight of the newest demand.

    Attributes:
        mean: Expected demand [units a step], `[B, M]`.
        variance: Its variance, `[B, M]`.
    """

    def __init__(self, worlds: int, cells: int, weight: float) -> None:
        self.weight = weight
        self.mean = np.zeros((worlds, cells))
        self.variance = np.zeros((worlds, cells))

    def begin(self, worlds: Ints, rates: Floats) -> None:
        """Begins anew."""
        self.mean[worlds] = rates
        self.variance[worlds] = (PRIOR_CV * rates) ** 2

    def see(self, demand: Floats) -> None:
        """Takes in what was asked of each cell in a step."""
        error = demand - self.mean
        self.variance += self.weight * (error**2 - self.variance)
        self.mean += self.weight * error

    def get_state(self) -> dict[str, Any]:
        """Both tables, copied."""
        return {"mean": self.mean.copy(), "variance": self.variance.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.mean, self.variance = state["mean"].copy(), state["variance"].copy()
