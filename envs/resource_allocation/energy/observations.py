"""What a battery sees: itself, the fleet, the hour, and what prices are expected.

Amounts are shares and prices are logarithms of their ratio to the mean, so that what is learned among twenty batteries
holds among a hundred, and in a dear system as in a cheap one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.layout import ObservationLayout
from envs.resource_allocation.energy.forecasts import Forecast
from envs.resource_allocation.energy.merit import Curve
from envs.resource_allocation.energy.plan import Bools, Floats, Ints, Plan
from envs.resource_allocation.energy.storage import Batteries
from envs.resource_allocation.energy.worth import Prices, Store, Values

OWN = (
    "stored",
    "to_fill",
    "to_empty",
    "round_trip",
    "wear",
    "worth",
    "fleet",
    "fleet_stored",
    "fleet_to_fill",
    "fleet_to_empty",
    "hour_sin",
    "hour_cos",
    "left",
    "short",
    "spare",
    "error",
    "last_price",
    "surprise",
    "rank",
    "buy_at",
    "sell_at",
    "price_if_taken",
    "price_if_given",
    "weigh_system",
    "weigh_profit",
)
"""Share that is stored; time to fill it and to empty it at full power [4 steps]; efficiency there and back; its wear,
and what a stored megawatt-hour counts, beside the mean price; power of all batteries beside mean demand; share that all
have stored, and the time to fill and to empty all; the hour; steps that are left, up to the horizon's; net demand
beside all that could be given, and whether that is short; the forecast's error, likewise; the last price, and how far
it was from what was expected; share of the horizon's steps that are cheaper than this one; how much cheaper this step
is than the last that it must buy in to be full, and how much dearer than the last that it must sell in to be empty, by
the expected prices; how much the price would rise if all took what they could, and fall if all gave; and what
objectives weigh."""
WATER = ("fleet_plan", "worth_now", "worth_here", "margin_in", "margin_out")
"""Where it is seen: what the fleet would take now, or give where below 0, if it were one battery that is planned with
these forecasts (`worth`) [share of its power]; what a further megawatt-hour stored is worth after this step in that
plan, at the fleet's level and at one's own, beside the mean price; and how much cheaper than that one buys now, and how
much dearer one sells, losses and wear counted, beside the mean price."""
CELLS, POINTS = 24, 17
"""Into how many cells the fleet's energy is divided then, and powers at which prices are tabulated."""
MOST = 5.0
"""Observed shares are cut off here."""
LEAST_PRICE = 0.02
"""Prices below this share of the mean count as this, as zero has no logarithm."""
NODES, WEIGHTS = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)]), np.array([1.0, 4.0, 1.0]) / 6
"""Gauss-Hermite quadrature of a standard normal: prices are convex, so that their mean is not that of the mean."""


@dataclass(frozen=True)
class Outlook:
    """What everybody can know of the hours to come.

    Attributes:
        forecast: Of quantities.
        curve: Supply by the units that are expected to run, `[B, H, P]`.
        price: Expected without batteries [currency a MWh], `[B, H]`.
    """

    forecast: Forecast
    curve: Curve
    price: Floats

    @classmethod
    def of(cls, plan: Plan, forecast: Forecast) -> Outlook:
        """The outlook of a forecast."""
        curve = Curve.of(plan, forecast.running)
        return cls(forecast, curve, expected_price(curve, forecast.net[..., None], forecast.error)[..., 0])

    def prices(self, most: Floats, points: int, *, moves: bool = True) -> Prices:
        """Expected prices where batteries take up to so much, or give it.

        Args:
            most: `[B]` [MW].
            points: Powers at which prices are tabulated.
            moves: Whether prices move with what is taken.
        """
        most = np.maximum(most, 1e-6)
        step = 2 * most / (points - 1)
        if not moves:
            return Prices(np.repeat(self.price[..., None], points, axis=2), -most, step)
        powers = np.linspace(-1.0, 1.0, points) * most[:, None]
        net = self.forecast.net[..., None] + powers[:, None]
        return Prices(expected_price(self.curve, net, self.forecast.error), -most, step)


def expected_price(curve: Curve, net: Floats, error: Floats) -> Floats:
    """Mean prices where net demands `[..., X]` have a normal error of so much, `[...]`."""
    width = net.shape[-1]
    at = np.concatenate([net + node * error[..., None] for node in NODES], axis=-1)
    prices = curve.prices(at)
    parts = [weight * prices[..., n * width : (n + 1) * width] for n, weight in enumerate(WEIGHTS)]
    return sum(parts[1:], parts[0])


@dataclass(frozen=True)
class FleetPlan:
    """What the fleet would do if it were one battery, whose efficiency and wear are its batteries' mean.

    Attributes:
        share: What it would take now, or give where below 0 [share of its power], `[B]`.
        values: What energy in each cell of its store is worth after this step [currency a MWh], `[B, CELLS]`.
    """

    share: Floats
    values: Floats

    @classmethod
    def of(cls, plan: Plan, own: Batteries, outlook: Outlook, left: Ints) -> FleetPlan:
        """The plan.

        Args:
            plan: The grids.
            own: The batteries; those that are not there have no power and no energy.
            outlook: Of the next steps.
            left: Steps that are left, `[B]`.
        """
        total, power = own.energy.sum(axis=1), own.power.sum(axis=1)
        share = own.energy / np.where(total > 0, total, 1.0)[:, None]
        mean = [(getattr(own, name) * share).sum(axis=1) for name in ("charging", "discharging", "wear", "worth")]
        fleet = Store(power, total, mean[0], mean[1], mean[2], mean[3], own.stored.sum(axis=1))
        idle = np.zeros(outlook.price.shape)
        found = Values(fleet, outlook.prices(power, POINTS), idle, plan.hours, left, CELLS)
        return cls(found.plan(1)[:, 0] / np.where(power > 0, power, 1.0), found.later)

    def parts(self, own: Batteries, hours: Floats) -> Floats:
        """What it comes to for each battery, by what each can take or give, `[B, A]` [share of its power].

        Args:
            own: The batteries.
            hours: Length of a step, `[B]` [h].
        """
        can = np.where((self.share > 0)[:, None], own.room(hours), own.supply(hours))
        total = can.sum(axis=1)
        used = np.clip(self.share * own.power.sum(axis=1) / np.where(total > 0, total, 1.0), -1.0, 1.0)
        found: Floats = can * used[:, None] / np.where(own.power > 0, own.power, 1.0)
        return found


@dataclass(frozen=True)
class Seen:
    """What there is to be seen, `[B]` unless said otherwise.

    Attributes:
        plan: The grids.
        batteries: As they stand, `[B, A]`.
        alive: Who is there, `[B, A]`.
        outlook: Of the next steps, `[B, H]`.
        fleet: What the fleet would do as one; None where it is not seen.
        left: Steps that are left.
        step: Step of the day.
        price, expected: The last price, and what was expected of it.
        weights: What objectives weigh, `[B, 3]`.
    """

    plan: Plan
    batteries: Batteries
    alive: Bools
    outlook: Outlook
    fleet: FleetPlan | None
    left: Ints
    step: Ints
    price: Floats
    expected: Floats
    weights: Floats


def layout_of(horizon: int, planned: bool) -> ObservationLayout:
    """The observation of every battery: what is above, then the expected price of each step, the present one first."""
    return ObservationLayout((*OWN, *(WATER if planned else ()), *(f"price_{ahead}" for ahead in range(horizon))))


class Observer:
    """Writes observations.

    Args:
        worlds: Worlds `B`.
        batteries: Most batteries `A`.
        horizon: Steps that forecasts reach ahead.
        planned: Whether it is seen what stored energy is worth in a plan of the fleet.
    """

    def __init__(self, worlds: int, batteries: int, horizon: int, planned: bool) -> None:
        self.layout = layout_of(horizon, planned)
        self.out = np.zeros((worlds, batteries, self.layout.size), np.float32)
        self._horizon = horizon

    def write(self, seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Observations of all batteries, `[B, A, D]`, in an array that the next call reuses; and the state `[B, S]`."""
        plan, own, forecast = seen.plan, seen.batteries, seen.outlook.forecast
        usual, hours = plan.mean_price, plan.hours[:, None]
        alive = seen.alive
        there = np.arange(self._horizon) < seen.left[:, None]
        prices = relative(seen.outlook.price, usual[:, None])
        # What there is after the end counts as sold at what stored energy counts: the mean price.
        prices = np.where(there, prices, 0.0)
        energy, power = np.where(alive, own.energy, 0.0), np.where(alive, own.power, 0.0)
        stored = own.stored / np.where(energy > 0, energy, 1.0)
        fill = (own.energy - own.stored) / np.where(power > 0, own.charging * power * hours, 1.0)
        empty = own.stored * own.discharging / np.where(power > 0, power * hours, 1.0)
        total, most = energy.sum(axis=1), power.sum(axis=1)
        fleet_fill = (fill * power).sum(axis=1) / np.where(most > 0, most, 1.0)
        fleet_empty = (empty * power).sum(axis=1) / np.where(most > 0, most, 1.0)
        capacity = np.maximum(seen.outlook.curve.quantity[:, 0, -1], 1e-9)
        used = forecast.net[:, 0] / capacity
        rising, falling = self._impact(seen)
        turn = 2 * np.pi * seen.step / plan.steps
        features: tuple[Any, ...] = (
            stored,
            fill / 4,
            empty / 4,
            own.charging * own.discharging,
            own.wear / usual[:, None],
            own.worth / usual[:, None],
            most / plan.load.mean(axis=1),
            own.stored.sum(axis=1) / np.where(total > 0, total, 1.0),
            fleet_fill / 4,
            fleet_empty / 4,
            np.sin(turn),
            np.cos(turn),
            np.minimum(seen.left, self._horizon) / self._horizon,
            used,
            np.maximum(used - 0.9, 0.0) * 10,
            forecast.error[:, 0] / capacity * 10,
            relative(seen.price, usual),
            relative(seen.price, usual) - relative(seen.expected, usual),
            ((prices < prices[:, :1]) & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1),
            _turning(prices, there, fill, own.charging, seen) - prices[:, :1],
            prices[:, :1] + _turning(-prices, there, empty, 1 / own.discharging, seen),
            rising,
            falling,
            seen.weights[:, 0],
            seen.weights[:, 1],
        )
        if seen.fleet is not None:
            features += _water(seen, seen.fleet, stored)
        for place, values in enumerate(features):
            self.out[:, :, place] = values if values.ndim > 1 else values[:, None]
        self.out[:, :, len(features) :] = prices[:, None]
        self.out *= alive[..., None]
        np.clip(self.out, -MOST, MOST, out=self.out)
        state = np.concatenate([stored, alive, used[:, None], prices], axis=1)
        return self.out, np.clip(state, -MOST, MOST).astype(np.float32)

    def _impact(self, seen: Seen) -> tuple[Floats, Floats]:
        """How much the price rises if all take what they can, and falls if all give, as ratios' logarithms, `[B]`."""
        plan, own = seen.plan, seen.batteries
        first = seen.outlook.forecast.net[:, :1]
        taken = np.where(seen.alive, own.room(plan.hours), 0.0).sum(axis=1)
        given = np.where(seen.alive, own.supply(plan.hours), 0.0).sum(axis=1)
        curve = seen.outlook.curve
        now = curve.step(0)
        at = np.concatenate([first, first + taken[:, None], first - given[:, None]], axis=1)
        found = relative(expected_price(now, at, seen.outlook.forecast.error[:, 0]), plan.mean_price[:, None])
        return found[:, 1] - found[:, 0], found[:, 0] - found[:, 2]


def _water(seen: Seen, fleet: FleetPlan, stored: Floats) -> tuple[Floats, ...]:
    """The features of `WATER`; shares of their energy that batteries have stored, `[B, A]`."""
    own, usual, price = seen.batteries, seen.plan.mean_price[:, None], seen.outlook.price[:, :1]
    total = own.energy.sum(axis=1)
    level = own.stored.sum(axis=1) / np.where(total > 0, total, 1.0)
    now, here = _at(fleet.values, level[:, None]) / usual, _at(fleet.values, stored) / usual
    bought, sold = price / own.charging / usual, (price - own.wear) * own.discharging / usual
    return fleet.share, now, here, here - bought, sold - here


def _at(values: Floats, level: Floats) -> Floats:
    """Values of cells `[B, N]` at levels from 0 to 1, `[B, A]`, between their middles by interpolation."""
    place = np.clip(level * values.shape[1] - 0.5, 0.0, values.shape[1] - 1.000001)
    whole = place.astype(np.int64)
    below = np.take_along_axis(values, whole, axis=1)
    found: Floats = below + (place - whole) * (np.take_along_axis(values, whole + 1, axis=1) - below)
    return found


def relative(price: Floats, usual: Floats) -> Floats:
    """Prices as logarithms of their ratio to the mean."""
    found: Floats = np.log(np.maximum(price / usual, LEAST_PRICE))
    return found


def _turning(keys: Floats, there: Bools, steps: Floats, efficiency: Floats, seen: Seen) -> Floats:
    """The last of the steps that a battery needs, in the order of `keys`, `[B, A]`; efficiency counted in.

    Args:
        keys: By which steps are taken, the smallest first, `[B, H]`.
        there: Which steps there are, `[B, H]`.
        steps: How many it needs, `[B, A]`.
        efficiency: What it loses then, `[B, A]`: who loses must buy cheaper, and sell dearer.
        seen: Whose horizon's steps these are.
    """
    ranked = np.sort(np.where(there, keys, np.inf), axis=1)
    count = np.maximum(there.sum(axis=1), 1)[:, None]
    place = np.clip(np.ceil(steps - 1e-9).astype(np.int64) - 1, 0, count - 1)
    found = np.take_along_axis(ranked, place, axis=1)
    return np.where(np.isfinite(found), found, 0.0) + np.log(efficiency)
