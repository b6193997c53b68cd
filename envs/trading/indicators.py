"""Technical indicators that are carried forward bar by bar, for all worlds and assets at once.

Every indicator is a recursion: an exponential average moves a step towards its newest input, a windowed sum takes the
newest value in and the oldest out. So a bar costs the same however long the windows are. Definitions, and the way
averages are seeded, are TA-Lib's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOVING_AVERAGES = (5, 20, 50)
"""Windows of the simple moving averages [bars]."""
MOMENTUM_HORIZONS = (5, 20, 60)
"""Horizons of momentum [bars]."""
BOLLINGER_WINDOW = 20
VOLATILITY_WINDOW = 20
VOLUME_WINDOW = 20
RSI_PERIOD = 14
ATR_PERIOD = 14
MACD_FAST, MACD_SLOW, MACD_SIGNAL = 12, 26, 9

LOOKBACK = 64
"""Bars that are remembered."""
MIN_BARS = max(*MOVING_AVERAGES, *MOMENTUM_HORIZONS) + 1
"""Bars after which every indicator is defined."""

VOLATILITY_FLOOR = 1e-4
"""Least volatility per bar that is reported: a price that stands still must not divide by zero."""

# Channels of what is remembered of each bar.
_CLOSE, _CLOSE_SQUARED, _RETURN_SQUARED, _VOLUME, _LOG_CLOSE = range(5)
# Windowed sums: which channel, over how many bars.
_SUM_CHANNELS = np.array([*(_CLOSE for _ in MOVING_AVERAGES), _CLOSE_SQUARED, _RETURN_SQUARED, _VOLUME])
_SUM_WINDOWS = np.array([*MOVING_AVERAGES, BOLLINGER_WINDOW, VOLATILITY_WINDOW, VOLUME_WINDOW])
_BOLLINGER_SUM, _VOLATILITY_SUM, _VOLUME_SUM = (len(MOVING_AVERAGES) + i for i in range(3))
# Exponential averages: gain, loss, true range (Wilder: 1 / n), then the fast and the slow price average (2 / (n + 1)).
_GAIN, _LOSS, _RANGE, _FAST, _SLOW = range(5)
_PERIODS = np.array([RSI_PERIOD, RSI_PERIOD, ATR_PERIOD, MACD_FAST, MACD_SLOW])
_RATES = np.array([1 / RSI_PERIOD, 1 / RSI_PERIOD, 1 / ATR_PERIOD, 2 / (MACD_FAST + 1), 2 / (MACD_SLOW + 1)])
# Bars that pass before an average takes its first input: changes need a predecessor, and TA-Lib starts the fast
# average so late that both are seeded at the same bar.
_DELAYS = np.array([1, 1, 1, MACD_SLOW - MACD_FAST, 0])
_SIGNAL_DELAY = MACD_SLOW - 1


def _rates(age: int) -> Array:
    """Rates of the exponential averages and, last, of the MACD's signal, at the bar number `age` (from 1).

    The first `n` inputs are averaged evenly (rate `1 / m` at input `m`), then the rate is the indicator's own.
    """
    count = np.append(age - _DELAYS, age - _SIGNAL_DELAY)
    period = np.append(_PERIODS, MACD_SIGNAL)
    steady = np.append(_RATES, 2 / (MACD_SIGNAL + 1))
    seeding = np.where(count < 1, 0.0, 1.0 / np.maximum(count, 1))
    return np.where(count <= period, seeding, steady)


_RATES_BY_AGE = np.array([_rates(age) for age in range(LOOKBACK + 1)])[..., None, None]
"""At the last of these ages every average is seeded: its rates hold from then on."""


def _remember(out: Array, close: Array, volume: Array, before: Array, origin: Array) -> None:
    """Writes what is remembered of bars, `[5, …]`, after closes `before`.

    Windowed sums are taken of distances from the first close, `origin`: small numbers, so that the variance of a price
    of 700 that moves by cents is not lost in rounding.
    """
    np.subtract(close, origin, out=out[_CLOSE])
    np.multiply(out[_CLOSE], out[_CLOSE], out=out[_CLOSE_SQUARED])
    np.log(close, out=out[_LOG_CLOSE])
    np.subtract(out[_LOG_CLOSE], np.log(before), out=out[_RETURN_SQUARED])
    np.multiply(out[_RETURN_SQUARED], out[_RETURN_SQUARED], out=out[_RETURN_SQUARED])
    out[_VOLUME] = volume


def _measure(out: Array, high: Array, low: Array, close: Array, before: Array) -> None:
    """Writes what the exponential averages take in of bars, `[5, …]`, after closes `before`."""
    np.subtract(close, before, out=out[_LOSS])
    np.maximum(out[_LOSS], 0.0, out=out[_GAIN])
    np.subtract(out[_GAIN], out[_LOSS], out=out[_LOSS])
    np.maximum(high, before, out=out[_RANGE])
    out[_RANGE] -= np.minimum(low, before)
    out[_FAST] = close
    out[_SLOW] = close


def _smooth(inputs: Array, rates: Array) -> None:
    """Turns inputs into their exponential averages, in place, bar by bar; both are `[T, …]`."""
    average = np.zeros_like(inputs[0])
    for values, rate in zip(inputs, rates, strict=True):
        values -= average
        values *= rate
        values += average
        average = values


class TechnicalIndicators:
    """The indicators of `[B, N]` price series.

    Values are meaningful from `MIN_BARS` bars on. They do not depend on the unit of prices or volumes, except the
    moving averages, `macd`, `macd_signal` and `atr`, which are in units of price.

    Args:
        num_worlds: Worlds `B`.
        num_assets: Assets `N`.
    """

    def __init__(self, num_worlds: int, num_assets: int) -> None:
        shape = (num_worlds, num_assets)
        self.age = 0
        self._cursor = 0  # slot of the next bar in the ring of remembered bars
        self._ring = np.zeros((LOOKBACK, 5, *shape))
        self._sums = np.zeros((len(_SUM_WINDOWS), *shape))
        self._averages = np.zeros((len(_PERIODS), *shape))
        self._signal = np.zeros(shape)
        self._origin = np.ones(shape)
        self._close = np.ones(shape)
        self._inputs = np.zeros_like(self._averages)

    def update(self, high: Array, low: Array, close: Array, volume: Array) -> None:
        """Takes in one bar of every world, each array `[B, N]`."""
        self.age += 1
        rates = _RATES_BY_AGE[min(self.age, LOOKBACK)]
        if self.age == 1:
            self._origin[...] = close
            self._close[...] = close
        row = self._ring[self._cursor]
        _remember(row, close, volume, self._close, self._origin)
        self._sums += row[_SUM_CHANNELS] - self._ring[self._cursor - _SUM_WINDOWS, _SUM_CHANNELS]
        inputs = self._inputs
        _measure(inputs, high, low, close, self._close)
        inputs -= self._averages
        inputs *= rates[:-1]
        self._averages += inputs
        change = self.macd
        change -= self._signal
        change *= rates[-1]
        self._signal += change
        self._close[...] = close
        self._cursor = (self._cursor + 1) % LOOKBACK

    def begin(self, worlds: NDArray[np.int64], high: Array, low: Array, close: Array, volume: Array) -> None:
        """Begins new series in `worlds`, as if `update` had taken in these bars one by one, to the bit.

        Args:
            worlds: Where they go, int64 `[E]`.
            high: At least `LOOKBACK` bars, `[T, E, N]`.
            low: Likewise.
            close: Likewise.
            volume: Likewise.
        """
        bars = len(close)
        if bars < LOOKBACK:
            raise ValueError(f"bars: got {bars}, allowed is {LOOKBACK} or more")
        before = np.concatenate([close[:1], close[:-1]])
        rows = np.empty((5, *close.shape))
        _remember(rows, close, volume, before, close[0])
        for total, channel, window in zip(self._sums, _SUM_CHANNELS, _SUM_WINDOWS, strict=True):
            change = rows[channel].copy()
            change[window:] -= rows[channel, :-window]
            total[worlds] = np.add.accumulate(change, axis=0)[-1]  # unlike `sum`, in the same order for every shape
        averages = np.empty((len(_PERIODS), *close.shape))
        _measure(averages, high, low, close, before)
        averages = averages.swapaxes(0, 1)
        rates = _RATES_BY_AGE[np.minimum(np.arange(1, bars + 1), LOOKBACK)]
        _smooth(averages, rates[:, :-1])
        signal = averages[:, _FAST] - averages[:, _SLOW]
        _smooth(signal, rates[:, -1])
        self._averages[:, worlds] = averages[-1]
        self._signal[worlds] = signal[-1]
        self._origin[worlds] = close[0]
        self._close[worlds] = close[-1]
        slots = (self._cursor + np.arange(LOOKBACK)) % LOOKBACK
        self._ring[slots[:, None], :, worlds] = rows[:, -LOOKBACK:].transpose(1, 2, 0, 3)
        self.age = max(self.age, bars)

    def _past(self, bars: int) -> Array:
        """What is remembered of the bar `bars` before the last."""
        return self._ring[(self._cursor - 1 - bars) % LOOKBACK]

    @property
    def last_return(self) -> Array:
        """Log return of the last bar, close to close, `[B, N]`."""
        return self._past(0)[_LOG_CLOSE] - self._past(1)[_LOG_CLOSE]

    @property
    def momentum(self) -> Array:
        """Log return over each of `MOMENTUM_HORIZONS`, `[H, B, N]`."""
        slots = (self._cursor - 1 - np.array(MOMENTUM_HORIZONS)) % LOOKBACK
        return self._past(0)[_LOG_CLOSE] - self._ring[slots, _LOG_CLOSE]

    @property
    def moving_averages(self) -> Array:
        """Simple moving average of the close over each of `MOVING_AVERAGES`, `[M, B, N]`."""
        windows = _SUM_WINDOWS[: len(MOVING_AVERAGES), None, None]
        return self._origin + self._sums[: len(MOVING_AVERAGES)] / windows

    @property
    def bollinger(self) -> Array:
        """Distance of the close from its moving average, in (population) standard deviations of its window `[B, N]`."""
        mean = self._sums[MOVING_AVERAGES.index(BOLLINGER_WINDOW)] / BOLLINGER_WINDOW
        variance = self._sums[_BOLLINGER_SUM] / BOLLINGER_WINDOW - mean * mean
        # Relative to the price, so that the floor means the same for every asset.
        deviation = np.sqrt(np.maximum(variance, (1e-6 * self._close) ** 2))
        return (self._past(0)[_CLOSE] - mean) / deviation

    @property
    def volatility(self) -> Array:
        """Realised volatility per bar: root mean square of the window's log returns, at least the floor, `[B, N]`."""
        mean = np.maximum(self._sums[_VOLATILITY_SUM] / VOLATILITY_WINDOW, VOLATILITY_FLOOR**2)
        return np.sqrt(mean)

    @property
    def relative_volume(self) -> Array:
        """Volume of the last bar over its moving average, `[B, N]`."""
        average = self._sums[_VOLUME_SUM] / VOLUME_WINDOW
        return self._past(0)[_VOLUME] / np.maximum(average, 1e-9)

    @property
    def rsi(self) -> Array:
        """Relative strength index (Wilder 1978), 0 to 100; 50 where the price never moved, `[B, N]`."""
        gain, loss = self._averages[_GAIN], self._averages[_LOSS]
        total = gain + loss
        return np.where(total > 0, 100.0 * gain / np.where(total > 0, total, 1.0), 50.0)

    @property
    def macd(self) -> Array:
        """Fast minus slow exponential average of the close (Appel), `[B, N]`."""
        return self._averages[_FAST] - self._averages[_SLOW]

    @property
    def macd_signal(self) -> Array:
        """Exponential average of `macd`, `[B, N]`."""
        return self._signal

    @property
    def atr(self) -> Array:
        """Average true range (Wilder 1978), `[B, N]`."""
        return self._averages[_RANGE]

    @property
    def close(self) -> Array:
        """Last close, `[B, N]`."""
        return self._close

    _ARRAYS = ("_sums", "_averages", "_signal", "_origin", "_close")

    def get_state(self) -> dict[str, Any]:
        """Everything that is carried forward."""
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in ("_ring", *self._ARRAYS)}
        return {**state, "cursor": self._cursor, "age": self.age}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name in ("_ring", *self._ARRAYS):
            getattr(self, name)[...] = state[name]
        self._cursor = state["cursor"]
        self.age = state["age"]
