"""Fills, spreads and impact against closed forms, and the impossibility of farming one's own impact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.trading.config import Terms, TradingTask
from envs.trading.exchange import Exchange, Fills

ADV = 1e6


def make(agents: int = 1, lot_size: float = 0.0, assets: int = 1, **task: Any) -> tuple[Exchange, Terms]:
    """An exchange with one world, and its terms."""
    terms = Terms(1, assets)
    terms.set([0], [TradingTask(**task)])
    exchange = Exchange(1, assets, agents, lot_size)
    exchange.open(np.array([0]), np.full((1, assets), ADV), terms)
    return exchange, terms


def trade(
    exchange: Exchange,
    terms: Terms,
    orders: list[float],
    price: float = 100.0,
    volume: float = 1e9,
    sigma: float = 0.02,
) -> Fills:
    """One asset's orders, one an agent, filled at an exogenous price."""
    column = np.ones((1, 1))
    return exchange.fill(
        np.array(orders, np.float64).reshape(1, 1, -1),
        price * column,
        volume * column,
        sigma * column,
        ADV * column,
        terms,
    )


def paid(fills: Fills) -> float:
    """Cash that all agents pay for their shares, spread and impact included."""
    return float((fills.shares * fills.price[..., None] + fills.sizes * fills.half_spread[..., None]).sum())


def test_one_trade_in_closed_form() -> None:
    """Reference, moved mid, square-root impact and half-spread of a single order are the formulas, term by term."""
    exchange, terms = make(
        market_impact_factor=1e-4, transient_impact_factor=2e-4, square_root_impact=0.6, half_spread=5e-4
    )
    fills = trade(exchange, terms, [40_000.0])  # 4% of the daily volume, at 2% volatility
    moved = 100.0 * np.exp(4 * (1e-4 + 2e-4))
    np.testing.assert_allclose(fills.reference, 100.0, rtol=1e-15)
    np.testing.assert_allclose(fills.price, moved * (1 + 0.6 * 0.02 * 0.04**0.5), rtol=1e-14)
    np.testing.assert_allclose(fills.half_spread, moved * 5e-4 * 0.02 / 0.0125, rtol=1e-14)
    np.testing.assert_allclose(exchange.permanent, 4e-4, rtol=1e-14)
    np.testing.assert_allclose(exchange.transient, 8e-4, rtol=1e-14)


def test_the_transient_part_halves_every_half_life_and_the_permanent_part_stays() -> None:
    """After twice its half-life a quarter of the transient move is left; the lasting one is whole."""
    exchange, terms = make(impact_half_life=3.0)
    trade(exchange, terms, [10_000.0])
    for _ in range(6):
        exchange.rest()
    np.testing.assert_allclose(exchange.transient, 2e-4 / 4, rtol=1e-12)
    np.testing.assert_allclose(exchange.permanent, 1e-4, rtol=1e-12)


@pytest.mark.parametrize(("sigma", "factor"), [(0.005, 1.0), (0.0125, 1.0), (0.05, 4.0)])
def test_the_spread_widens_with_volatility(sigma: float, factor: float) -> None:
    """Half-spread is the quiet one up to the reference volatility, and proportional to volatility above it."""
    exchange, terms = make(half_spread=1e-3)
    np.testing.assert_allclose(exchange.quote(np.full((1, 1), sigma), terms), factor * 1e-3)


def test_agents_share_the_capped_volume_pro_rata() -> None:
    """Together they get at most the participation of the bar's volume, buyers and sellers cut by one ratio."""
    exchange, terms = make(agents=3, max_participation=0.1)
    fills = trade(exchange, terms, [600.0, -300.0, 100.0], volume=5_000.0)
    np.testing.assert_allclose(fills.ratio, 0.5)
    np.testing.assert_allclose(fills.shares[0, 0], [300.0, -150.0, 50.0])
    np.testing.assert_allclose(fills.sizes, np.abs(fills.shares))
    np.testing.assert_allclose(fills.net, 200.0)


def test_lots_cut_towards_zero() -> None:
    """Only whole lots are traded, and never more than was ordered."""
    exchange, terms = make(agents=3, lot_size=10.0)
    fills = trade(exchange, terms, [29.9, -29.9, 9.0])
    np.testing.assert_allclose(fills.shares[0, 0], [20.0, -20.0, 0.0])
    np.testing.assert_allclose(fills.sizes[0, 0], [20.0, 20.0, 0.0])


def test_orders_that_cancel_move_nothing() -> None:
    """Impact is of the net flow: equal buyers and sellers pay the spread alone."""
    exchange, terms = make(agents=2)
    fills = trade(exchange, terms, [50_000.0, -50_000.0])
    np.testing.assert_array_equal(fills.price, fills.reference)
    np.testing.assert_array_equal(exchange.displacement, 0.0)


def test_a_contrarian_is_paid_by_the_flow_it_meets() -> None:
    """Who sells into net buying gets the higher price; all agents together still pay for their net flow."""
    exchange, terms = make(agents=3)
    fills = trade(exchange, terms, [40_000.0, 20_000.0, -10_000.0])
    impact = fills.shares[0, 0] * (fills.price - fills.reference)[0, 0]
    assert impact[2] < 0 < impact[0]
    np.testing.assert_allclose(impact.sum(), 50_000.0 * (fills.price - fills.reference)[0, 0], rtol=1e-12)


impacts = st.fixed_dictionaries(
    {
        "market_impact_factor": st.sampled_from([0.0, 1e-4, 2e-3]),
        "transient_impact_factor": st.sampled_from([0.0, 2e-4, 2e-2]),
        "impact_half_life": st.sampled_from([0.2, 1.0, 3.0, 15.0]),
        "square_root_impact": st.sampled_from([0.0, 0.6]),
    }
)


@settings(max_examples=300, deadline=None)
@given(
    task=impacts,
    flow=st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 5)), min_size=1, max_size=12),
    sigmas=st.lists(st.floats(0.001, 0.2), min_size=13, max_size=13),
)
def test_no_round_trip_pays(task: dict[str, float], flow: list[tuple[float, int]], sigmas: list[float]) -> None:
    """Whatever the sizes, pauses, impact and volatilities, trading back to flat costs at least nothing.

    Prices stand still but for the flow, and there is neither spread nor fee: only impact could earn. (With prices that
    are martingales the same holds in expectation, for flows that do not know the future.)
    """
    exchange, terms = make(half_spread=0.0, max_participation=0.1, **task)
    position = spent = 0.0
    for (size, pause), sigma in zip(flow, sigmas, strict=False):
        fills = trade(exchange, terms, [size * 0.1 * ADV], volume=ADV, sigma=sigma)
        spent += paid(fills)
        position += float(fills.shares.sum())
        for _ in range(pause):
            exchange.rest()
    while abs(position) > 1e-6:  # back to flat, in as many bars as the cap takes
        fills = trade(exchange, terms, [-position], volume=ADV, sigma=sigmas[-1])
        spent += paid(fills)
        position += float(fills.shares.sum())
        exchange.rest()
    assert spent >= -1e-6 * sum(abs(size) for size, _ in flow) - 1e-6


def test_a_pump_and_dump_loses() -> None:
    """Pushing the price up bar by bar, and selling at once or slowly, costs more than nothing at default impact."""
    for sells in (1, 5, 50):
        exchange, terms = make(half_spread=0.0)
        spent = 0.0
        for size in [10_000.0] * 10 + [-100_000.0 / sells] * sells:
            spent += paid(trade(exchange, terms, [size]))
            exchange.rest()
        assert spent > 0


def test_an_opened_world_forgets_and_leaves_the_others_alone() -> None:
    """Opening clears displacement and sets slopes in the worlds named, and there only."""
    terms = Terms(2, 1)
    terms.set([0, 1], [TradingTask(), TradingTask(market_impact_factor=2e-4)])
    exchange = Exchange(2, 1, 1)
    exchange.open(np.array([0, 1]), np.full((2, 1), ADV), terms)
    wide = np.ones((1, 2))
    exchange.fill(np.full((1, 2, 1), 10_000.0), 100 * wide, 1e9 * wide, 0.02 * wide, ADV * wide, terms)
    np.testing.assert_allclose(exchange.permanent[0], [1e-4, 2e-4])
    exchange.open(np.array([0]), np.full((1, 1), ADV), terms)
    np.testing.assert_allclose(exchange.permanent[0], [0.0, 2e-4])
