"""Indicators against TA-Lib, an independent library, on the same series."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from envs.trading.indicators import (
    LOOKBACK,
    MIN_BARS,
    MOMENTUM_HORIZONS,
    MOVING_AVERAGES,
    VOLATILITY_FLOOR,
    TechnicalIndicators,
)

BARS = 300


@pytest.fixture(scope="module")
def series() -> dict[str, np.ndarray]:
    """Random bars of three assets at very different price levels, `[T, 1, 3]`."""
    rng = np.random.default_rng(7)
    close = np.array([0.8, 45.0, 3000.0]) * np.exp(np.cumsum(rng.normal(0, 0.02, (BARS, 1, 3)), axis=0))
    high = close * np.exp(np.abs(rng.normal(0, 0.01, close.shape)))
    low = close * np.exp(-np.abs(rng.normal(0, 0.01, close.shape)))
    volume = np.exp(rng.normal(13, 0.5, close.shape))
    return {"high": high, "low": low, "close": close, "volume": volume}


def run(series: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], TechnicalIndicators]:
    """Every indicator after every bar, `[T, N]` or `[T, K, N]`."""
    indicators = TechnicalIndicators(1, series["close"].shape[2])
    names = ("rsi", "macd", "macd_signal", "atr", "bollinger", "volatility", "relative_volume", "moving_averages")
    seen: dict[str, list[np.ndarray]] = {name: [] for name in (*names, "momentum", "last_return")}
    for t in range(len(series["close"])):
        indicators.update(*(series[key][t] for key in ("high", "low", "close", "volume")))
        for name, values in seen.items():
            values.append(getattr(indicators, name)[..., 0, :].copy())
    return {name: np.array(values) for name, values in seen.items()}, indicators


def test_match_talib_from_the_first_defined_bar(series: dict[str, np.ndarray]) -> None:
    """RSI, MACD, its signal, ATR, Bollinger z and moving averages equal TA-Lib's wherever TA-Lib defines them."""
    ours, _ = run(series)
    for n in range(3):
        high, low, close = (series[key][:, 0, n] for key in ("high", "low", "close"))
        macd, signal, _ = talib.MACD(close, 12, 26, 9)
        upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
        expected = {
            "rsi": talib.RSI(close, 14),
            "macd": macd,
            "macd_signal": signal,
            "atr": talib.ATR(high, low, close, 14),
            "bollinger": (close - middle) / ((upper - lower) / 4),
        }
        for name, values in expected.items():
            defined = ~np.isnan(values)
            assert defined.sum() > BARS - MIN_BARS, name
            scale = np.nanstd(values)
            np.testing.assert_allclose(ours[name][defined, n] / scale, values[defined] / scale, atol=1e-7, err_msg=name)
        for k, window in enumerate(MOVING_AVERAGES):
            np.testing.assert_allclose(
                ours["moving_averages"][window - 1 :, k, n], talib.SMA(close, window)[window - 1 :], rtol=1e-10
            )


def test_momentum_volatility_and_volume(series: dict[str, np.ndarray]) -> None:
    """Momentum, realised volatility and relative volume equal their definitions, computed from the whole series."""
    ours, _ = run(series)
    logs = np.log(series["close"][:, 0])
    returns = np.diff(logs, axis=0)
    for k, horizon in enumerate(MOMENTUM_HORIZONS):
        np.testing.assert_allclose(ours["momentum"][horizon:, k], logs[horizon:] - logs[:-horizon], atol=1e-13)
    np.testing.assert_allclose(ours["last_return"][1:], returns, atol=1e-13)
    for n in range(3):
        volatility = np.sqrt(talib.SMA(returns[:, n] ** 2, 20))
        np.testing.assert_allclose(ours["volatility"][20:, n], volatility[19:], rtol=1e-9)
        volume = series["volume"][:, 0, n]
        np.testing.assert_allclose(ours["relative_volume"][19:, n], (volume / talib.SMA(volume, 20))[19:], rtol=1e-9)


def test_a_price_that_stands_still_is_finite() -> None:
    """Constant prices give neutral values: RSI 50, z 0, MACD 0, and the floor of volatility."""
    still = {key: np.full((80, 1, 2), 5.0) for key in ("high", "low", "close", "volume")}
    ours, _ = run(still)
    assert all(np.isfinite(values).all() for values in ours.values())
    np.testing.assert_array_equal(ours["rsi"][-1], 50.0)
    np.testing.assert_array_equal(ours["bollinger"][-1], 0.0)
    np.testing.assert_allclose(ours["macd"][-1], 0.0, atol=1e-12)
    np.testing.assert_array_equal(ours["volatility"][-1], VOLATILITY_FLOOR)


def test_unit_of_price_does_not_matter(series: dict[str, np.ndarray]) -> None:
    """Scaling prices scales what is in units of price and leaves the rest."""
    ours, _ = run(series)
    scaled, _ = run({key: values * (1000.0 if key != "volume" else 1.0) for key, values in series.items()})
    for name in ("rsi", "bollinger", "volatility", "momentum"):
        np.testing.assert_allclose(scaled[name][MIN_BARS:], ours[name][MIN_BARS:], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled["atr"], ours["atr"] * 1000, rtol=1e-9)


@pytest.mark.parametrize("bars", [LOOKBACK, 100])
def test_a_series_begun_in_a_running_batch_is_the_series_alone(series: dict[str, np.ndarray], bars: int) -> None:
    """Worlds begun with a history, between others that run on, go on to the bit as if fed bar by bar and alone."""
    keys = ("high", "low", "close", "volume")
    alone, batch = TechnicalIndicators(1, 3), TechnicalIndicators(3, 3)
    for t in range(110):  # the batch runs on other prices, and the ring's end falls within
        batch.update(*(np.repeat(series[key][t], 3, axis=0) for key in keys))
    beside = batch.rsi[1].copy()
    for t in range(100, 100 + bars):
        alone.update(*(series[key][t] for key in keys))
    batch.begin(np.array([2, 0]), *(np.repeat(series[key][100 : 100 + bars], 2, axis=1) for key in keys))
    np.testing.assert_array_equal(batch.rsi[1], beside)
    for t in range(200, 260):
        for name in ("rsi", "macd", "macd_signal", "bollinger", "volatility", "atr", "last_return", "relative_volume"):
            for world in (0, 2):
                np.testing.assert_array_equal(getattr(batch, name)[world], getattr(alone, name)[0], err_msg=name)
        np.testing.assert_array_equal(batch.moving_averages[:, 2], alone.moving_averages[:, 0])
        np.testing.assert_array_equal(batch.momentum[:, 2], alone.momentum[:, 0])
        alone.update(*(series[key][t] for key in keys))
        batch.update(*(np.repeat(series[key][t], 3, axis=0) for key in keys))


def test_a_history_too_short_to_define_the_indicators_is_refused(series: dict[str, np.ndarray]) -> None:
    """Fewer bars than are remembered would leave the bars of the episode before in the ring."""
    short = [series[key][: LOOKBACK - 1] for key in ("high", "low", "close", "volume")]
    with pytest.raises(ValueError, match="bars: got 63, allowed is 64 or more"):
        TechnicalIndicators(1, 3).begin(np.array([0]), *short)


def test_state_round_trip(series: dict[str, np.ndarray]) -> None:
    """Restored indicators go on to the bit, and do not share memory with the state."""
    keys = ("high", "low", "close", "volume")
    first, second = TechnicalIndicators(1, 3), TechnicalIndicators(1, 3)
    for t in range(90):
        first.update(*(series[key][t] for key in keys))
    second.set_state(first.get_state())
    for t in range(90, 120):
        first.update(*(series[key][t] for key in keys))
        second.update(*(series[key][t] for key in keys))
        np.testing.assert_array_equal(first.rsi, second.rsi)
        np.testing.assert_array_equal(first.momentum, second.momentum)
        np.testing.assert_array_equal(first.bollinger, second.bollinger)
