"""Tests of demand, against the moments that its formulas promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.synthetic.demand import Customers, Demand, Promotion, Season, Shock

STEPS = 40_000


def drawn(*demands: Demand, steps: int = STEPS, **options: Any) -> Any:
    """Demand of one long episode."""
    return Customers(demands).draw(steps, [np.random.default_rng(0)], **options)[0]


@pytest.mark.parametrize(
    ("demand", "variance"),
    [
        (Demand(level=20), 20),
        (Demand(level=20, cv=0.3), 20 + 0.09 * 400),
        (Demand(level=50, kind="normal", cv=0.2), 100),
        (Demand(level=7, kind="fixed"), 0),
        (Demand(level=5, chance=0.25), 0),
    ],
)
def test_moments_are_those_of_the_formulas(demand: Demand, variance: float) -> None:
    """Mean the level; variance mean + cv^2 mean^2 of counts, cv^2 mean^2 of normals, and of mixtures with nothing."""
    if demand.chance < 1:  # E[D^2] = chance (m + m^2), with m = level / chance
        large = demand.level / demand.chance
        variance = demand.chance * (large + large**2) - demand.level**2
    found = drawn(demand)[:, 0]
    assert found.mean() == pytest.approx(demand.level, rel=0.03)
    assert found.var() == pytest.approx(variance, rel=0.05, abs=1e-9)
    assert (found >= 0).all()


def test_deviations_go_on_and_are_shared() -> None:
    """Normal demand has the correlation from step to step, and between places, that it is given."""
    one = Demand(level=100, kind="normal", cv=0.1, rho=0.6)
    found = drawn(one)[:, 0]
    assert np.corrcoef(found[:-1], found[1:])[0, 1] == pytest.approx(0.6, abs=0.02)
    assert found.std() == pytest.approx(10, rel=0.03)
    together = Demand(level=100, kind="normal", cv=0.1, common=0.5)
    both = drawn(together, together)
    assert np.corrcoef(both.T)[0, 1] == pytest.approx(0.5, abs=0.02)
    alone = Demand(level=100, kind="normal", cv=0.1)
    assert np.corrcoef(drawn(alone, alone).T)[0, 1] == pytest.approx(0, abs=0.02)


def test_the_mean_moves_as_it_is_told() -> None:
    """Trend, season and shocks multiply; promotions lift the mean for as long as they last."""
    demand = Demand(
        level=10,
        kind="fixed",
        trend=0.1,
        season=Season(amplitude=0.5, period=4, phase=1),
        shocks=(Shock(step=2, factor=3, length=1), Shock(step=3, factor=0)),
    )
    np.testing.assert_allclose(drawn(demand, steps=5)[:, 0], [10 * 1.5, 11 * 1, 12 * 0.5 * 3, 0, 0])
    np.testing.assert_allclose(Customers([demand]).expected(5)[:, 0], drawn(demand, steps=5)[:, 0])
    lifted = drawn(Demand(level=1, kind="fixed", promotion=Promotion(chance=0.02, length=5, lift=3)))[:, 0]
    assert set(np.unique(lifted)) == {1, 3}
    changes = np.flatnonzero(np.diff(lifted))
    lengths = np.diff(changes)[:: 1 if lifted[0] == 3 else 2]
    assert (lengths % 5 == 0).mean() > 0.99  # one may follow another at once
    assert (lifted == 3).mean() == pytest.approx(5 / (5 + 1 / 0.02), rel=0.2)


def test_a_falling_trend_ends_at_nothing() -> None:
    """Demand is never negative, and a seed gives the same."""
    demand = Demand(level=10, trend=-0.01)
    found = drawn(demand, steps=300)
    assert (found >= 0).all()
    assert found[100:].sum() == 0
    np.testing.assert_array_equal(found, drawn(demand, steps=300))


def test_all_variation_can_be_scaled() -> None:
    """For tasks that are harder or easier than the network says."""
    demand = Demand(level=100, kind="normal", cv=0.1)
    assert drawn(demand, spread=2.0).std() == pytest.approx(20, rel=0.03)
    assert drawn(demand, spread=0.0).std() == 0
