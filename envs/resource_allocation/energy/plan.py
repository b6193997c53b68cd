"""A grid as arrays, sized for the largest of a run, so that worlds with different ones are stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from envs.resource_allocation.energy.config import EnergyTask
from envs.resource_allocation.energy.grid import DAY, Grid, Renewable
from envs.resource_allocation.energy.merit import Curve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Size:
    """How large arrays are: most batteries, kinds of generators, renewables and batteries, and steps of a day."""

    batteries: int
    generators: int
    renewables: int
    kinds: int
    day: int

    @classmethod
    def of(cls, grids: Sequence[Grid], batteries: int) -> Self:
        """What holds each of the grids."""
        generators, renewables, kinds = (
            max(len(getattr(grid, name)) for grid in grids) for name in ("generators", "renewables", "batteries")
        )
        return cls(batteries, generators, renewables, kinds, max(grid.day for grid in grids))

    @property
    def points(self) -> int:
        """Points of a supply curve `P`: one before all prices, two at each of two prices a kind, and lost load."""
        return 4 * self.generators + 2


@dataclass
class Plan:
    """One grid in one task, or those of `B` worlds with an axis before all others.

    Attributes:
        hours: Length of a step, `[]`.
        steps: Steps of a day, `[]`.
        lost_load: Value of demand that is not met [currency a MWh], `[]`.
        connection: Most that all batteries together take or give [MW], infinite where there is no limit, `[]`.
        load: Mean demand through a day [MW], `[D]`.
        load_spread: Standard deviation of its logarithm, `[]`.
        load_rho: `[]`.
        sun: Most that each renewable gives through a day, if the weather leaves all [MW], `[R, D]`.
        weather_mean: `a` of each, the weather's mean in standard deviations, `[R]`.
        weather_spread, weather_rho: `[R]`.
        units: Generators of each kind, `[G]`.
        fails, lasts: Probability that a unit fails in a step, and that one that failed stays so, `[G]`.
        price: Prices of the supply curve's points, rising, `[P]`.
        output: What a unit of each kind gives at each point [MW], `[P, G]`.
        cost: What that costs, carbon's price included [currency an hour], `[P, G]`.
        emitted: Carbon of it [kg CO2e an hour], `[P, G]`.
        chance: Probability that a battery is of a kind, `[K]`.
        power, energy, charging, discharging, wear: As in `Battery`, multiplied by the task's size, `[K]`.
        worth: What energy counts that is stored [currency a MWh stored], `[K]`.
        mean_price: Price on average over a day of mean demand without batteries [currency a MWh], `[]`.
    """

    hours: Floats
    steps: Ints
    lost_load: Floats
    connection: Floats
    load: Floats
    load_spread: Floats
    load_rho: Floats
    sun: Floats
    weather_mean: Floats
    weather_spread: Floats
    weather_rho: Floats
    units: Floats
    fails: Floats
    lasts: Floats
    price: Floats
    output: Floats
    cost: Floats
    emitted: Floats
    chance: Floats
    power: Floats
    energy: Floats
    charging: Floats
    discharging: Floats
    wear: Floats
    worth: Floats
    mean_price: Floats

    @classmethod
    def empty(cls, size: Size) -> Self:
        """A grid without anything."""
        g, r, k, p, d = size.generators, size.renewables, size.kinds, size.points, size.day
        return cls(
            hours=np.ones(()),
            steps=np.ones((), np.int64),
            lost_load=np.ones(()),
            connection=np.full((), np.inf),
            load=np.zeros(d),
            load_spread=np.zeros(()),
            load_rho=np.zeros(()),
            sun=np.zeros((r, d)),
            weather_mean=np.zeros(r),
            weather_spread=np.zeros(r),
            weather_rho=np.zeros(r),
            units=np.zeros(g),
            fails=np.zeros(g),
            lasts=np.zeros(g),
            price=np.zeros(p),
            output=np.zeros((p, g)),
            cost=np.zeros((p, g)),
            emitted=np.zeros((p, g)),
            chance=np.zeros(k),
            power=np.ones(k),
            energy=np.ones(k),
            charging=np.ones(k),
            discharging=np.ones(k),
            wear=np.zeros(k),
            worth=np.zeros(k),
            mean_price=np.ones(()),
        )

    @classmethod
    def of(cls, grid: Grid, task: EnergyTask, size: Size) -> Self:
        """A grid as arrays."""
        plan = cls.empty(size)
        plan.hours[...], plan.steps[...], plan.lost_load[...] = grid.hours, grid.day, grid.lost_load
        if grid.connection is not None:
            plan.connection[...] = grid.connection
        plan.load[: grid.day] = task.demand * grid.load.level * _course(grid)
        plan.load_spread[...] = np.sqrt(np.log1p((task.uncertainty * grid.load.cv) ** 2))
        plan.load_rho[...] = grid.load.rho
        for r, kind in enumerate(grid.renewables.values()):
            plan.sun[r, : grid.day] = task.renewables * kind.capacity * _shape(kind, grid)
            spread = task.uncertainty * kind.spread
            plan.weather_mean[r] = ndtri(kind.mean) * np.sqrt(1 + spread**2)
            plan.weather_spread[r], plan.weather_rho[r] = spread, kind.rho
        for g, unit in enumerate(grid.generators.values()):
            plan.units[g] = unit.count
            if unit.outage is not None:
                plan.fails[g] = min(task.outages * unit.outage.chance, 0.999)
                plan.lasts[g] = 1 - 1 / unit.outage.length
        plan._rank(grid, task.carbon_price)
        for k, battery in enumerate(grid.batteries.values()):
            plan.chance[k] = battery.weight
            for name in ("power", "energy", "charging", "discharging", "wear"):
                getattr(plan, name)[k] = getattr(battery, name) * (task.size if name in ("power", "energy") else 1.0)
        plan.chance /= plan.chance.sum()
        plan._value(grid)
        return plan

    def _rank(self, grid: Grid, carbon_price: float) -> None:
        """Lays the supply curve: what each kind gives at the prices at which one of them begins or is full.

        A unit gives where its marginal cost `b + 2 c p` is the price, within its limits. At a price where one of
        constant marginal cost begins and is full at once there are two points, of nothing and of all.
        """
        kinds = list(grid.generators.values())
        low, full, linear, slope, fixed, carbon = (
            np.array([getattr(kind, name) for kind in kinds])
            for name in ("minimum", "capacity", "linear", "quadratic", "fixed", "carbon")
        )
        linear = linear + carbon_price * carbon
        prices = np.unique(np.concatenate([linear + 2 * slope * low, linear + 2 * slope * full]))
        rising = np.where(slope > 0, slope, 1.0)
        outputs, levels = [low], [0.0]
        for price in prices:
            gives = np.clip((price - linear) / (2 * rising), low, full)
            outputs.append(np.where(slope > 0, gives, np.where(price > linear, full, low)))
            outputs.append(np.where(slope > 0, gives, np.where(price >= linear, full, low)))
            levels += [price, price]
        while len(levels) < len(self.price):  # prices that kinds there are not would have had
            outputs.append(full)
            levels.append(grid.lost_load)
        self.price[...] = levels
        given = np.stack(outputs)
        self.output[:, : len(kinds)] = given
        self.cost[:, : len(kinds)] = fixed + linear * given + slope * given**2
        self.emitted[:, : len(kinds)] = carbon * given

    def _value(self, grid: Grid) -> None:
        """Says what stored energy counts: what it will be sold for on an average day."""
        gone = self.fails / np.maximum(self.fails + 1 - self.lasts, 1e-9)
        net = self.load[: grid.day].copy()
        for sun, kind in zip(self.sun, grid.renewables.values(), strict=False):
            net -= sun[: grid.day] * kind.mean
        prices = Curve.of(self, self.units * (1 - gone)).prices(net)
        self.mean_price[...] = max(float(prices.mean()), 1e-6)
        self.worth[...] = self.discharging * np.maximum(self.mean_price - self.wear, 0.0)

    def worlds(self, count: int) -> Plan:
        """The plan for `count` worlds alike, arrays with an axis before all others."""
        return Plan(**{f.name: np.repeat(getattr(self, f.name)[None], count, axis=0) for f in fields(self)})

    def put(self, world: int, plan: Plan) -> None:
        """Has one world play another grid."""
        for field in fields(self):
            getattr(self, field.name)[world] = getattr(plan, field.name)


def _course(grid: Grid) -> Floats:
    """The load's profile at each step of a day, mean 1, `[D]`."""
    profile = np.array(grid.load.profile)
    hours = (np.arange(len(profile)) + 0.5) * DAY / len(profile)
    course = np.interp(grid.clock(), hours, profile, period=DAY)
    found: Floats = course / course.mean()
    return found


def _shape(kind: Renewable, grid: Grid) -> Floats:
    """What a renewable could give at each step of a day [share of its capacity], `[D]`."""
    if kind.daylight is None:
        return np.ones(grid.day)
    rise, down = kind.daylight
    return np.maximum(np.sin(np.pi * np.clip((grid.clock() - rise) / (down - rise), 0.0, 1.0)), 0.0)
