"""The synthetic market: its laws, its bookkeeping, and that a world in a batch is the world alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from envs.streams import WorldStreams
from envs.synthetic.bars import BARS_PER_YEAR, Bars
from envs.synthetic.market import BLOCK, OVERNIGHT, MarketConfig, SyntheticMarket
from envs.synthetic.regimes import REGIME_PARAMETERS, REGIMES, MarketRegime, long_run_shares

FIXED = [regime for regime in MarketRegime if regime is not MarketRegime.SWITCHING]


def open_market(
    markets: Sequence[MarketConfig], num_assets: int = 4, seed: int = 1, first_world: int = 0
) -> SyntheticMarket:
    """A market of one world for each config, at its start."""
    streams = WorldStreams(len(markets), first_world)
    streams.seed = seed
    market = SyntheticMarket(streams, [f"S{n}" for n in range(num_assets)])
    worlds = np.arange(len(markets))
    streams.restart(worlds, np.zeros(len(markets), np.int64))
    market.restart(worlds, markets)
    return market


def stacked(bars: Bars) -> NDArray[np.float64]:
    """All five arrays of a bar, `[5, B, N]`."""
    return np.stack([getattr(bars, field.name) for field in fields(bars)])


def history(market: SyntheticMarket, num_bars: int) -> NDArray[np.float64]:
    """The next bars, `[T, 5, B, N]`."""
    return np.stack([stacked(market.next()) for _ in range(num_bars)])


MIXED = [
    MarketConfig(num_assets=3, regime=MarketRegime.SWITCHING, duration_scale=0.2),
    MarketConfig(num_assets=4, regime=MarketRegime.CRISIS, drift_scale=2.0),
    MarketConfig(num_assets=1, regime=MarketRegime.CALM, volatility_scale=0.5),
    MarketConfig(num_assets=2, regime=MarketRegime.VOLATILE, duration_scale=0.1),
]


@pytest.mark.parametrize("world", range(len(MIXED)))
def test_a_world_in_a_batch_is_the_world_alone(world: int) -> None:
    """Prices and truth of a world do not depend, to the bit, on the worlds beside it."""
    batch, alone = open_market(MIXED), open_market(MIXED[world : world + 1], first_world=world)
    for _ in range(150):
        np.testing.assert_array_equal(stacked(batch.next())[:, world], stacked(alone.next())[:, 0])
        assert batch.truth.regime[world] == alone.truth.regime[0]
        np.testing.assert_array_equal(batch.truth.drift[world], alone.truth.drift[0])
        np.testing.assert_array_equal(batch.truth.volatility[world], alone.truth.volatility[0])
    np.testing.assert_array_equal(batch.adv[world], alone.adv[0])


def test_worlds_may_advance_apart() -> None:
    """Advancing some worlds alone gives their bars in the order asked for, and leaves the others where they were."""
    together, apart = open_market(MIXED), open_market(MIXED)
    expected = history(together, 130)
    for bar in range(130):
        for some in (np.array([3, 1]), np.array([0]), np.array([2])):
            np.testing.assert_array_equal(stacked(apart.next(some)), expected[bar][:, some])
    np.testing.assert_array_equal(stacked(apart.next()), stacked(together.next()))


@pytest.mark.parametrize("count", [1, BLOCK, 2 * BLOCK + 10])
def test_several_bars_at_once_are_the_bars_one_by_one(count: int) -> None:
    """Across the ends of blocks, and where worlds stand at different bars of theirs, nothing else differs."""
    at_once, one_by_one, some = open_market(MIXED), open_market(MIXED), np.array([3, 1])
    for market in (at_once, one_by_one):
        history(market, 5)
        market.next(np.array([1]))
    passed = at_once.history(some, count)
    expected = np.stack([stacked(one_by_one.next(some)) for _ in range(count)], axis=1)
    np.testing.assert_array_equal(stacked(passed), expected)
    np.testing.assert_array_equal(at_once.truth.volatility, one_by_one.truth.volatility)
    np.testing.assert_array_equal(stacked(at_once.next()), stacked(one_by_one.next()))


def test_a_restart_leaves_other_worlds_alone_and_repeats_an_episode() -> None:
    """Restarting one world with its stream replays its episode, and changes nothing elsewhere."""
    plain, restarted = open_market(MIXED), open_market(MIXED)
    expected = history(plain, 80)
    history(restarted, 40)
    some = np.array([1])
    restarted.streams.restart(some, np.zeros(4, np.int64))
    restarted.restart(some, [MIXED[1]])
    after = history(restarted, 40)
    np.testing.assert_array_equal(after[:, :, [0, 2, 3]], expected[40:, :, [0, 2, 3]])
    np.testing.assert_array_equal(after[:, :, 1], expected[:40, :, 1])


def test_state_round_trip() -> None:
    """A market restored in the middle, in another object, goes on to the bit; and its state shares nothing with it."""
    market = open_market(MIXED)
    history(market, 77)
    streams, state = market.streams.get_state(), market.get_state()
    expected = history(market, 120)
    other = open_market(MIXED, seed=9)
    history(other, 5)
    other.streams.set_state(streams)
    other.set_state(state)
    np.testing.assert_array_equal(history(other, 120), expected)


def test_other_seeds_are_other_markets() -> None:
    """Another seed gives other prices, and so does another world of the same seed."""
    one, other = history(open_market(MIXED[:1] * 2), 3), history(open_market(MIXED[:1] * 2, seed=2), 3)
    assert (one[:, :4, :, :3] != other[:, :4, :, :3]).all()
    assert (one[:, :4, 0, :3] != one[:, :4, 1, :3]).all()


@settings(max_examples=25, deadline=None)
@given(
    regime=st.sampled_from(list(MarketRegime)),
    num_assets=st.integers(1, 5),
    drift_scale=st.floats(0, 10),
    volatility_scale=st.floats(0.01, 5),
    duration_scale=st.floats(0.05, 5),
    seed=st.integers(0, 2**31),
)
def test_bars_are_consistent(regime: MarketRegime, seed: int, num_assets: int, **scales: float) -> None:
    """In any market low <= open, close <= high, all is positive and finite, and absent assets stand still at 1."""
    market = open_market([MarketConfig(regime=regime, num_assets=num_assets, **scales)] * 2, num_assets=5, seed=seed)
    bars = history(market, 60)
    opened, high, low, close, _ = bars.transpose(1, 0, 2, 3)
    assert np.isfinite(bars).all()
    assert (bars > 0).all()
    assert (low <= np.minimum(opened, close)).all()
    assert (high >= np.maximum(opened, close)).all()
    assert (bars[..., num_assets:] == 1.0).all()
    assert (market.adv[:, num_assets:] == 1.0).all()
    truth = market.truth
    assert (truth.drift[:, num_assets:] == 0).all()
    assert (truth.volatility[:, num_assets:] == 0).all()
    assert (truth.volatility[:, :num_assets] > 0).all()


def standard_error(sample: NDArray[np.float64]) -> float:
    """Of the mean, from the means of worlds `[T, B, …]`, which are independent."""
    means = sample.mean(axis=(0, *range(2, sample.ndim)))
    return float(means.std(ddof=1) / len(means) ** 0.5)


@pytest.mark.parametrize("regime", FIXED)
def test_without_drift_prices_are_martingales(regime: MarketRegime) -> None:
    """With drift_scale 0 the mean simple return is 0, over night, over the day and over the bar, in every regime."""
    # The fourfold volatility makes a forgotten compensation stand out from the noise.
    bars = history(open_market([MarketConfig(regime=regime, drift_scale=0, volatility_scale=4)] * 400), 120)
    opened, close = bars[1:, 0], bars[1:, 3]
    before = bars[:-1, 3]
    for simple in (opened / before - 1, close / opened - 1, close / before - 1):
        assert abs(simple.mean()) < 4 * standard_error(simple)


@pytest.mark.parametrize("regime", FIXED)
def test_truth_is_what_happens(regime: MarketRegime) -> None:
    """The next bar's return has the drift, deviation, market part and correlation that the truth names beforehand."""
    market = open_market([MarketConfig(regime=regime, drift_scale=8.0)] * 400)
    before = stacked(market.next())[3]
    gains, standardised, products = [], [], []
    for _ in range(120):
        truth = market.truth
        close = stacked(market.next())[3]
        surprise = np.log(close / before) - truth.drift + 0.5 * truth.volatility**2
        gains.append(close / before - np.exp(truth.drift))
        standardised.append(surprise / truth.volatility)
        expected = truth.beta[:, 0] * truth.beta[:, 1] * truth.factor_volatility**2
        products.append(
            (surprise[:, 0] * surprise[:, 1] - expected) / (truth.volatility[:, 0] * truth.volatility[:, 1])
        )
        before = close
    assert abs(np.mean(gains)) < 4 * standard_error(np.array(gains))
    squares = np.array(standardised) ** 2
    assert (
        abs(squares.mean() - 1) < 4 * standard_error(squares) + 0.002
    )  # the compensation given W is not exactly v / 2
    assert abs(np.mean(products)) < 4 * standard_error(np.array(products)[:, :, None]) + 0.002


@pytest.mark.parametrize("regime", FIXED)
def test_volatility_is_the_regimes(regime: MarketRegime) -> None:
    """Over many worlds the annual variance of an average stock is the table's, jumps on top, and scales as asked."""
    parameters = REGIME_PARAMETERS[regime]
    for scale in (0.5, 1.0):
        config = MarketConfig(regime=regime, drift_scale=0, volatility_scale=scale)
        market = open_market([config] * 600)
        variance = np.stack([market.truth.volatility**2 for _ in range(60) if market.next()]) * BARS_PER_YEAR
        jumps = parameters.jumps * (parameters.jump_mean**2 + parameters.jump_deviation**2)
        # E[beta^2] and E[own^2] of normals cut off at 2 deviations, by their variance 0.774.
        beta, own = 1 + 0.25**2 * 0.88, np.exp(2 * 0.15**2 * 0.94)
        share = parameters.correlation
        expected = parameters.volatility**2 * (share * beta + (1 - share) * own) + jumps * beta
        assert abs(variance.mean() / scale**2 / expected - 1) < 0.08


def test_the_gap_takes_its_share() -> None:
    """The night carries `OVERNIGHT` of the variance."""
    bars = history(open_market([MarketConfig(regime=MarketRegime.BULL, drift_scale=0)] * 200), 200)
    night = np.log(bars[1:, 0] / bars[:-1, 3])
    day = np.log(bars[1:, 3] / bars[1:, 0])
    assert night.var() / (night.var() + day.var()) == pytest.approx(OVERNIGHT, abs=0.01)


def test_highs_and_lows_are_those_of_a_random_walk() -> None:
    """A Brownian day's maximum is distributed like the size of its close: E[max^2] = E[min^2] = variance."""
    config = MarketConfig(regime=MarketRegime.CALM, drift_scale=0, volatility_scale=0.1)
    bars = history(open_market([config] * 300), 100)
    opened, high, low, close, _ = np.log(bars).transpose(1, 0, 2, 3)
    variance = ((close - opened) ** 2).mean()
    assert ((high - opened) ** 2).mean() / variance == pytest.approx(1, abs=0.03)
    assert ((opened - low) ** 2).mean() / variance == pytest.approx(1, abs=0.03)


def test_volume_follows_moves_and_averages_adv() -> None:
    """More is traded on days that move, and the mean over a switching market is the average daily volume."""
    market = open_market([MarketConfig()] * 60)
    bars = history(market, 1500)
    moves = np.abs(np.diff(np.log(bars[:, 3]), axis=0))
    volumes = np.log(bars[1:, 4])
    correlations = [
        np.corrcoef(moves[:, world, asset], volumes[:, world, asset])[0, 1] for world in range(60) for asset in range(4)
    ]
    assert np.median(correlations) > 0.3
    assert (bars[:, 4].mean(axis=0) / market.adv).mean() == pytest.approx(1, abs=0.1)


def test_traded_value_is_the_configs() -> None:
    """`daily_value` sets the typical value traded: price times average daily volume."""
    market = open_market([MarketConfig(daily_value=1e6)] * 300)
    price = stacked(market.next())[3]
    assert np.median(price * market.adv) == pytest.approx(1e6, rel=0.1)


def test_drifts_persist_for_a_spell_and_spells_have_their_length() -> None:
    """Drifts change only between spells, whose mean length is the regime's times the scale."""
    for scale in (0.5, 1.0):
        market = open_market([MarketConfig(regime=MarketRegime.VOLATILE, duration_scale=scale)] * 40)
        drifts = np.stack([market.truth.drift for _ in range(2000) if market.next()])
        changed = (np.diff(drifts, axis=0) != 0).any(axis=2)  # one stock alone may draw the same cut-off value twice
        assert changed.size / changed.sum() == pytest.approx(
            REGIME_PARAMETERS[MarketRegime.VOLATILE].duration * scale, rel=0.1
        )


def test_switching_visits_every_regime_for_its_share_of_time() -> None:
    """A switching market spends in each regime what the chain of spells implies, from the first bar on."""
    market = open_market([MarketConfig()] * 1000)
    first = np.bincount(market.truth.regime, minlength=5) / 1000
    np.testing.assert_allclose(first, long_run_shares(), atol=0.05)
    seen = np.stack([market.truth.regime for _ in range(500) if market.next()])
    np.testing.assert_allclose(np.bincount(seen.ravel(), minlength=5) / seen.size, long_run_shares(), atol=0.03)
    fixed = open_market([MarketConfig(regime=MarketRegime.BEAR)] * 3)
    assert (np.stack([fixed.truth.regime for _ in range(300) if fixed.next()]) == REGIMES.index("bear")).all()


@pytest.mark.parametrize(
    ("given_fields", "named"),
    [
        ({"regime": "sideways"}, "regime"),
        ({"num_assets": 0}, "num_assets"),
        ({"drift_scale": -1}, "drift_scale"),
        ({"volatility_scale": 0}, "volatility_scale"),
        ({"volatility_scale": float("nan")}, "volatility_scale"),
        ({"daily_value": 0}, "daily_value"),
        ({"start": "2011-01-01", "end": "2010-01-01"}, "start"),
        ({"volatility": 1}, "volatility"),
    ],
)
def test_a_wrong_config_is_named(given_fields: dict[str, Any], named: str) -> None:
    """A value or key that is not allowed is refused, by name."""
    with pytest.raises(ValidationError, match=named):
        MarketConfig.model_validate(given_fields)


def test_what_a_source_cannot_play_is_named() -> None:
    """More assets than symbols, dates for simulated prices, and repeated or missing symbols are refused."""
    market = open_market([MarketConfig(num_assets=2)], num_assets=2)
    with pytest.raises(ValueError, match="num_assets: got 3, allowed is at most 2"):
        market.check(MarketConfig(num_assets=3))
    with pytest.raises(ValueError, match="start, end"):
        market.check(MarketConfig.model_validate({"start": "2010-01-01", "num_assets": 1}))
    for symbols in ([], ["A", "A"]):
        with pytest.raises(ValueError, match="symbols"):
            SyntheticMarket(WorldStreams(1), symbols)
