"""Worlds of real prices: windows, spans, padding, joins and the hindsight truth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envs.streams import WorldStreams
from envs.synthetic import price_source
from envs.synthetic.bars import Bars
from envs.synthetic.historical import HELD_OUT_START, HINDSIGHT, HistoricalMarket
from envs.synthetic.market import MarketConfig, SyntheticMarket
from envs.synthetic.price_files import load_prices

STOCKS = ("AAPL", "GOOG", "IBM", "MSFT")


def open_market(
    markets: Sequence[MarketConfig], symbols: Sequence[str] = STOCKS, data: str = "real", seed: int = 1
) -> HistoricalMarket:
    """A market of one world for each config, at its start."""
    streams = WorldStreams(len(markets))
    streams.seed = seed
    market = HistoricalMarket(streams, symbols, data)
    worlds = np.arange(len(markets))
    streams.restart(worlds, np.zeros(len(markets), np.int64))
    market.restart(worlds, markets)
    return market


def same(one: Bars, other: Bars, worlds: object = slice(None)) -> None:
    """Asserts that two bars agree to the bit."""
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(one, name)[worlds], getattr(other, name))


def test_bars_are_the_days_of_the_data() -> None:
    """Every bar is one day of the adjusted data, and days follow one another."""
    market = open_market([MarketConfig(num_assets=4, horizon=50)] * 3)
    prices = load_prices("real")
    calendar = prices["GOOG"].index
    for _ in range(50):
        bars = market.next()
        days = market.dates()
        for world, day in enumerate(days):
            for asset, symbol in enumerate(STOCKS):
                row = prices[symbol].loc[pd.Timestamp(day)]
                assert bars.close[world, asset] == row["close"]
                assert bars.volume[world, asset] == row["volume"]
    rows = calendar.get_indexer(pd.DatetimeIndex(days))
    market.next()
    np.testing.assert_array_equal(calendar.get_indexer(pd.DatetimeIndex(market.dates())), rows + 1)


def test_windows_stay_in_their_span_and_differ() -> None:
    """A window of `horizon` bars starts at random days and never leaves the dates it is given."""
    config = MarketConfig(num_assets=4, horizon=300, start=HELD_OUT_START, end=date(2011, 12, 31))
    market = open_market([config] * 64)
    market.next()
    firsts = market.dates()
    assert min(firsts) >= HELD_OUT_START
    assert len(set(firsts)) > 20
    for _ in range(299):
        market.next()
    assert max(market.dates()) <= date(2011, 12, 31)
    assert min(market.dates()) > max(firsts[:1])


def test_assets_not_in_play_stand_still() -> None:
    """Worlds with fewer assets pad with price 1 and volume 1, beside worlds with all of them."""
    market = open_market([MarketConfig(num_assets=2), MarketConfig(num_assets=4)])
    bars = market.next()
    assert (bars.close[0, 2:] == 1).all()
    assert (bars.volume[0, 2:] == 1).all()
    assert (bars.close[1] > 1).all()
    assert (market.adv[0] > [1, 1, 0, 0]).all()
    assert (market.adv[0, 2:] == 1).all()
    truth = market.truth
    assert (truth.drift[0, 2:] == 0).all()
    assert (truth.volatility[0, :2] > 0).all()


def test_past_the_end_the_span_begins_anew_without_a_jump() -> None:
    """Asked for more than there is, prices go on from the span's first day, scaled to join; returns stay real ones."""
    config = MarketConfig(num_assets=1, start=date(2012, 1, 1), end=date(2012, 1, 31))
    market = open_market([config], symbols=("IBM",))
    closes = np.concatenate([market.next().close[0] for _ in range(60)])
    moves = np.abs(np.diff(np.log(closes)))
    first = load_prices("real")["IBM"].loc["2012-01-03"]
    assert moves.max() < 0.06
    assert np.isclose(
        moves, abs(np.log(first["close"] / first["open"]))
    ).any()  # the join: the first day, from its open


def test_truth_is_hindsight() -> None:
    """Drift and volatility are those of the 60 days that follow."""
    market = open_market([MarketConfig(num_assets=4, horizon=200)] * 4)
    before = market.next().close
    truth = market.truth
    closes = [before] + [market.next().close for _ in range(HINDSIGHT)]
    returns = np.diff(np.log(closes), axis=0)
    volatility = returns.std(axis=0)
    np.testing.assert_allclose(truth.drift, returns.mean(axis=0) + 0.5 * volatility**2, atol=1e-12)
    np.testing.assert_allclose(truth.volatility, volatility, rtol=0.25)  # may be raised to the market part
    assert (truth.volatility >= volatility - 1e-12).all()
    residual = truth.volatility**2 - truth.beta**2 * truth.factor_volatility[:, None] ** 2
    assert (residual > -1e-12).all()
    np.testing.assert_allclose(truth.beta.mean(axis=1), 1.0)  # against the mean of the same stocks


def test_a_world_in_a_batch_is_the_world_alone() -> None:
    """Bars and truth do not depend on the worlds beside it, whatever those play."""
    mixed = [MarketConfig(num_assets=n, horizon=30) for n in (4, 2)]
    batch = open_market(mixed)
    alone = open_market(mixed[:1])
    for _ in range(30):
        same(batch.next(), alone.next(), slice(0, 1))
        np.testing.assert_array_equal(batch.truth.drift[:1], alone.truth.drift)


def test_several_days_at_once_are_the_days_one_by_one() -> None:
    """A history is what as many calls would have given, past the end of the span too, day by day."""
    config = MarketConfig(num_assets=3, start=date(2012, 1, 1), end=date(2012, 2, 28))
    at_once, one_by_one, some = open_market([config] * 3), open_market([config] * 3), np.array([2, 0])
    passed = at_once.history(some, 60)
    for day in range(60):
        expected = one_by_one.next(some)
        same(Bars(*(getattr(passed, name)[day] for name in ("open", "high", "low", "close", "volume"))), expected)
    same(at_once.next(), one_by_one.next())


def test_worlds_may_advance_apart_and_state_round_trips() -> None:
    """Some worlds alone move; a restored market, in another object, goes on to the bit, past its span's end too."""
    config = MarketConfig(num_assets=3, start=date(2012, 1, 1), end=date(2012, 2, 28))
    market = open_market([config] * 3)
    for _ in range(50):
        market.next(np.array([2, 0]))
    state = market.get_state()
    other = open_market([config] * 3, seed=5)
    other.next()
    other.set_state(state)
    for _ in range(50):
        same(market.next(), other.next())
    days = open_market([config] * 3)
    first = days.next().close
    some = days.next(np.array([1]))
    assert some.close.shape == (1, 4)
    assert days.next(np.array([0])).close[0, 0] != first[0, 0]


def test_what_is_not_in_the_prices_is_named() -> None:
    """Unknown symbols, too many assets, spans too short or outside the data: one line says what is allowed."""
    with pytest.raises(ValueError, match="got 'TSLA', allowed in real prices are AAPL, FB, GOOG, IBM, MSFT"):
        HistoricalMarket(WorldStreams(1), ["AAPL", "TSLA"])
    market = open_market([MarketConfig(num_assets=4)])
    with pytest.raises(ValueError, match="num_assets: got 5"):
        market.check(MarketConfig(num_assets=5))
    with pytest.raises(ValueError, match="with 0 common days"):
        market.check(MarketConfig(num_assets=4, start=date(2020, 1, 1)))
    with pytest.raises(ValueError, match="at least 900 days within 2004-08-19 to 2013-03-01"):
        market.check(MarketConfig(num_assets=4, horizon=900, start=HELD_OUT_START))


def test_prices_of_any_kind_are_opened_by_name(tmp_path: Path) -> None:
    """`price_source` opens synthetic, real and a user's prices, and names what it cannot open."""
    streams = WorldStreams(1)
    assert isinstance(price_source("synthetic", streams, ["anything"]), SyntheticMarket)
    assert isinstance(price_source("real", streams, ["IBM"]), HistoricalMarket)
    with pytest.raises(ValueError, match="allowed are synthetic, real, an existing"):
        price_source(str(tmp_path / "nothing.csv"), streams, ["IBM"])


def test_days_without_trades_count_as_one_share(tmp_path: Path) -> None:
    """A volume of 0 is legal in a file, and becomes 1, so that logarithms and ratios exist."""
    rows = {"date": pd.bdate_range("2020-01-01", periods=3), "volume": [0, 10, 0]}
    pd.DataFrame(rows | dict.fromkeys(("open", "high", "low", "close"), 5.0)).to_csv(tmp_path / "X.csv", index=False)
    market = open_market([MarketConfig(num_assets=1, horizon=3)], symbols=("X",), data=str(tmp_path / "X.csv"))
    assert [float(market.next().volume[0, 0]) for _ in range(3)] == [1.0, 10.0, 1.0]
    assert np.isfinite(market.truth.drift).all()
