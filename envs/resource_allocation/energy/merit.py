"""Economic dispatch in closed form: the merit order of many power systems at once.

Without network or commitment the cheapest way to meet a demand is the one in which all units that are neither at their
minimum nor full have the same marginal cost, the price (Wood, Wollenberg and Sheble, "Power generation, operation, and
control", chapter 3). A unit of cost `b p + c p^2` gives `(price - b) / 2c` within its limits, so that supply is
piecewise linear in the price, with corners where a unit begins or is full; between corners price is linear, cost
quadratic and carbon linear in the quantity. What units give at corners depends on the grid only, and how many run on
the hour: quantity at a corner is a sum over kinds.

Below the sum of minima power is spilled, and the price is 0; above all there is, load is lost, and the price is its
value. The price is the right-hand derivative of the cost: what the next megawatt-hour costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from envs.resource_allocation.energy.plan import Plan

Floats = NDArray[np.float64]


@dataclass
class Cleared:
    """What meeting demands comes to, `[..., X]` each.

    Attributes:
        price: [currency a MWh].
        cost: Fuel, carbon's price and lost load [currency an hour].
        carbon: [kg CO2e an hour].
        shed: Demand that is not met [MW].
        spilled: What is given and not used [MW].
    """

    price: Floats
    cost: Floats
    carbon: Floats
    shed: Floats
    spilled: Floats


@dataclass
class Curve:
    """Supply at each hour, `[..., P]` each.

    Attributes:
        quantity: What is given at each point, not falling [MW].
        price: [currency a MWh].
        cost: [currency an hour].
        carbon: [kg CO2e an hour].
        lost_load: Value of demand that is not met, `[...]`.
    """

    quantity: Floats
    price: Floats
    cost: Floats
    carbon: Floats
    lost_load: Floats

    @classmethod
    def of(cls, plan: Plan, running: Floats) -> Self:
        """The curve of a grid, or of `B`, where so many units of each kind run.

        Args:
            plan: One grid, or `[B]` of them.
            running: Units that run, `[..., G]`; with grids of `B` worlds, `[B, ..., G]`.
        """
        batched = plan.price.ndim - 1
        between = (1,) * (running.ndim - 1 - batched)
        shape = plan.price.shape

        def spread(array: Floats) -> Floats:
            return array.reshape(shape[:batched] + between + array.shape[batched:])

        def total(each: Floats) -> Floats:
            found: Floats = np.matmul(spread(each), running[..., None])[..., 0]
            return found

        quantity = total(plan.output)
        return cls(
            quantity,
            np.broadcast_to(spread(plan.price), quantity.shape),
            total(plan.cost),
            total(plan.emitted),
            np.broadcast_to(spread(plan.lost_load), quantity.shape[:-1]),
        )

    def step(self, ahead: int) -> Curve:
        """The curves of one step, `[B, P]`, of those of many, `[B, H, P]`."""
        return Curve(
            self.quantity[:, ahead],
            self.price[:, ahead],
            self.cost[:, ahead],
            self.carbon[:, ahead],
            self.lost_load[:, ahead],
        )

    def _segment(self, demand: Floats) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
        """The segment that demands `[..., X]` lie in, how far in [MW], its price there, and how fast that rises.

        A segment is the place of its first point, counted over all curves, as `_taken` reads them.
        """
        points = self.quantity.shape[-1]
        count = np.zeros(demand.shape, np.int16)
        for point in range(1, points - 1):  # few points, many demands: a comparison each is faster than a search
            count += self.quantity[..., point, None] <= demand
        curves = np.arange(self.quantity.size // points).reshape(*self.quantity.shape[:-1], 1)
        place = count + curves * points
        here, low = _taken(self.quantity, place), _taken(self.price, place)
        wide = _taken(self.quantity, place + 1) - here
        within = np.minimum(np.maximum(demand - here, 0.0), wide)
        slope = (_taken(self.price, place + 1) - low) / np.where(wide > 0, wide, np.inf)
        return place, within, low, slope

    def prices(self, demand: Floats) -> Floats:
        """The price of each demand, `[..., X]`."""
        _, within, low, slope = self._segment(demand)
        price = np.where(demand < self.quantity[..., :1], 0.0, low + slope * within)
        found: Floats = np.where(demand >= self.quantity[..., -1:], self.lost_load[..., None], price)
        return found

    def at(self, demand: Floats) -> Cleared:
        """The cheapest way to meet each demand, `[..., X]`, which may be negative."""
        place, within, low, slope = self._segment(demand)
        price = np.where(demand < self.quantity[..., :1], 0.0, low + slope * within)
        most, value = self.quantity[..., -1:], self.lost_load[..., None]
        shed = np.maximum(demand - most, 0.0)
        cost = _taken(self.cost, place) + within * (low + 0.5 * slope * within)
        carbon, wide = _taken(self.carbon, place), _taken(self.quantity, place + 1) - _taken(self.quantity, place)
        more = _taken(self.carbon, place + 1) - carbon
        carbon = carbon + more * (within / np.where(wide > 0, wide, np.inf))
        return Cleared(
            np.where(demand >= most, value, price),
            cost + value * shed,
            carbon,
            shed,
            np.maximum(self.quantity[..., :1] - demand, 0.0),
        )


def _taken(array: Floats, place: NDArray[np.int64]) -> Floats:
    """Points of all curves at their places."""
    found: Floats = array.reshape(-1)[place]
    return found
