"""Tests of economic dispatch: published examples, solvers of linear and quadratic programs, and its own derivatives."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from envs.resource_allocation.energy import EnergyTask, Grid, load_grid
from envs.resource_allocation.energy.merit import Curve
from envs.resource_allocation.energy.plan import Plan, Size


def curve_of(grid: Grid, running: Any = None, **task: Any) -> Curve:
    """The supply curve of a grid, all units running unless said otherwise."""
    plan = Plan.of(grid, EnergyTask(**task), Size.of([grid], 1))
    return Curve.of(plan, plan.units if running is None else np.asarray(running, np.float64))


def grid_with(generators: dict[str, Any], **more: Any) -> Grid:
    """A grid of these generators."""
    battery = {"b": {"power": 1, "energy": 2}}
    return Grid.model_validate(
        {"name": "g", "load": {"level": 100}, "generators": generators, "batteries": battery, **more}
    )


def dispatched(grid: Grid, price: float) -> list[float]:
    """What units give at a price, by equal marginal cost."""
    return [
        float(np.clip((price - unit.linear) / (2 * unit.quadratic), unit.minimum, unit.capacity))
        for unit in grid.generators.values()
    ]


def test_wood_and_wollenberg_example_3a() -> None:
    """Three units meet 850 MW at 393.2, 334.6 and 122.2 MW for a marginal cost of 9.148, as the book prints."""
    grid = load_grid("three_units")
    cleared = curve_of(grid).at(np.array([850.0]))
    assert cleared.price[0] == pytest.approx(9.148, abs=5e-4)
    outputs = dispatched(grid, float(cleared.price[0]))
    assert outputs == pytest.approx([393.2, 334.6, 122.2], abs=0.06)
    units = grid.generators.values()
    cost = sum(u.fixed + u.linear * p + u.quadratic * p**2 for u, p in zip(units, outputs, strict=True))
    assert cleared.cost[0] == pytest.approx(cost)
    assert (cleared.shed[0], cleared.spilled[0]) == (0.0, 0.0)


def test_wood_and_wollenberg_example_3b() -> None:
    """With cheaper coal the first unit is full: 600, 187.1 and 62.9 MW at 8.576, which that unit's cost is below."""
    given_units = load_grid("three_units").model_dump()
    given_units["generators"]["unit_1"] |= {"fixed": 459, "linear": 6.48, "quadratic": 0.00128}
    grid = Grid.model_validate(given_units)
    price = float(curve_of(grid).at(np.array([850.0])).price[0])
    assert price == pytest.approx(8.576, abs=5e-4)
    assert dispatched(grid, price) == pytest.approx([600, 187.1, 62.9], abs=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_a_linear_program_finds(seed: int) -> None:
    """Blocks of constant prices: cost and price are the optimum and the dual of HiGHS, also when load is lost."""
    rng = np.random.default_rng(seed)
    grid = grid_with(
        {f"u{n}": {"count": int(rng.integers(1, 4)), "capacity": float(rng.uniform(5, 60)),
                   "linear": float(rng.uniform(5, 200)), "carbon": 500.0} for n in range(5)}
    )  # fmt: skip
    units = list(grid.generators.values())
    running = [float(rng.integers(0, unit.count + 1)) for unit in units]
    curve = curve_of(grid, running, carbon_price=0.05)
    demand = rng.uniform(1.0, 1.2 * curve.quantity[-1] + 1.0, 6)
    cleared = curve.at(demand)
    costs = [unit.linear + 25.0 for unit in units] + [grid.lost_load]
    limits = [(0.0, run * unit.capacity) for run, unit in zip(running, units, strict=True)] + [(0.0, None)]
    for place, asked in enumerate(demand):
        found = linprog(costs, A_eq=np.ones((1, 6)), b_eq=[asked], bounds=limits, method="highs")
        assert cleared.cost[place] == pytest.approx(found.fun, rel=1e-9)
        assert cleared.price[place] == pytest.approx(found.eqlin.marginals[0], rel=1e-9)
        assert cleared.carbon[place] == pytest.approx(500.0 * found.x[:-1].sum(), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_a_quadratic_program_finds(seed: int) -> None:
    """Rising costs and minima, with spilling: cost, price and carbon are those of Clarabel."""
    rng = np.random.default_rng(100 + seed)
    grid = grid_with(
        {f"u{n}": {"capacity": float(rng.uniform(20, 60)), "minimum": float(rng.uniform(0, 20)), "fixed": 10.0,
                   "linear": float(rng.uniform(5, 100)), "quadratic": float(rng.uniform(0.01, 1.0)),
                   "carbon": float(rng.uniform(0, 900))} for n in range(4)}
    )  # fmt: skip
    units = list(grid.generators.values())
    low, full, linear, slope = (
        np.array([getattr(unit, name) for unit in units]) for name in ("minimum", "capacity", "linear", "quadratic")
    )
    for demand in (0.5 * low.sum(), 0.3 * low.sum() + 0.7 * full.sum(), 1.1 * full.sum()):
        output, shed = cp.Variable(4), cp.Variable(nonneg=True)
        balance = cp.sum(output) + shed >= demand
        cost = linear @ output + slope @ output**2 + grid.lost_load * shed + 40.0
        value = cp.Problem(cp.Minimize(cost), [balance, output >= low, output <= full]).solve(solver=cp.CLARABEL)
        cleared = curve_of(grid).at(np.array([demand]))
        assert cleared.cost[0] == pytest.approx(value, rel=1e-6)
        assert cleared.price[0] == pytest.approx(float(balance.dual_value), rel=1e-4, abs=1e-4)
        carbon = float(np.array([unit.carbon for unit in units]) @ output.value)
        assert cleared.carbon[0] == pytest.approx(carbon, rel=1e-4)
        assert cleared.spilled[0] == pytest.approx(max(low.sum() - demand, 0.0))


@settings(max_examples=40, deadline=None)
@given(st.floats(-300, 1300), st.floats(0.0, 0.2))
def test_price_is_the_derivative_of_cost(demand: float, carbon_price: float) -> None:
    """Of a convex cost: it lies between the slopes to either side, never falls, and is 0 where power is spilled."""
    curve = curve_of(load_grid("island"), carbon_price=carbon_price)
    step = 1e-3
    cleared = curve.at(np.array([demand - step, demand, demand + step]))
    left, right = np.diff(cleared.cost) / step
    assert left - 1e-4 <= cleared.price[1] <= right + 1e-4
    assert (np.diff(cleared.price) >= -1e-9).all()
    assert (np.diff(cleared.carbon) >= -1e-9).all()
    assert cleared.price[1] == 0.0 or cleared.spilled[1] == 0.0
    np.testing.assert_array_equal(curve.prices(np.array([demand])), cleared.price[1:2])


def test_many_curves_at_once_are_each_by_itself() -> None:
    """Worlds of two grids, each with other outages at each hour, clear as they do alone."""
    grids = [load_grid("island"), load_grid("three_units")]
    size = Size.of(grids, 1)
    alone = [Plan.of(grid, EnergyTask(), size) for grid in grids]
    plan = alone[0].worlds(2)
    plan.put(1, alone[1])
    rng = np.random.default_rng(0)
    running = np.floor(rng.uniform(0, 1, (2, 7, size.generators)) * (plan.units[:, None] + 1))
    demand = rng.uniform(0, 1200, (2, 7, 3))
    together = Curve.of(plan, running).at(demand)
    for world in range(2):
        for hour in range(7):
            single = Curve.of(alone[world], running[world, hour]).at(demand[world, hour])
            for name in ("price", "cost", "carbon", "shed", "spilled"):
                np.testing.assert_array_equal(getattr(together, name)[world, hour], getattr(single, name))
