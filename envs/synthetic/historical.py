"""Worlds that replay real prices, each from a random day of the span it may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from envs.streams import WorldStreams
from envs.synthetic.bars import BARS_PER_YEAR, Bars, IntArray, MarketTruth, PriceArray, PriceSource
from envs.synthetic.market import MarketConfig
from envs.synthetic.price_files import PRICES, load_prices
from envs.synthetic.regimes import REGIMES, MarketRegime

HELD_OUT_START = date(2010, 1, 1)
"""Of the bundled stocks, what comes before may be looked at and trained on; from here on it is for evaluation only."""

HINDSIGHT = 60
"""Bars ahead over which the truth of historical prices is measured."""

_MIN_HINDSIGHT = 20


@dataclass(frozen=True)
class _Table:
    """Aligned history of some symbols, one row a day.

    Attributes:
        dates: `[T]`.
        bars: Open, high, low, close, volume, `[T, 5, N]`; 1 where an asset is not in play.
        adv: Mean volume of the last 60 days, `[T, N]`.
        regime: `[T]`, as the other truths: of the days that follow.
        drift: `[T, N]`.
        volatility: `[T, N]`.
        beta: `[N]`.
        factor_volatility: `[T]`.
    """

    dates: pd.DatetimeIndex
    bars: PriceArray
    adv: PriceArray
    regime: IntArray
    drift: PriceArray
    volatility: PriceArray
    beta: PriceArray
    factor_volatility: PriceArray


class HistoricalMarket(PriceSource):
    """Worlds of real prices.

    An episode starts at a random bar that leaves `MarketConfig.horizon` bars in its span (`start` to `end`). Should
    more be asked for, the span begins anew, with prices scaled to join. The regime, and all the scales, of a
    `MarketConfig` mean nothing here.

    The truth of real prices is unknown. `truth` is a *hindsight* estimate: mean, deviation and market sensitivity of
    the next 60 days' returns, so a policy that reads it is an upper yardstick that no forecaster can be held to.

    Args:
        streams: The worlds' random streams.
        symbols: Names of the assets, all of which must be in the prices.
        data: `real`, or a path; see `load_prices`.
    """

    def __init__(self, streams: WorldStreams, symbols: Sequence[str], data: str = "real") -> None:
        super().__init__(streams, symbols)
        self.data = data
        self._prices = load_prices(data)
        if missing := [symbol for symbol in symbols if symbol not in self._prices]:
            given, known = ", ".join(map(repr, missing)), ", ".join(self._prices)
            raise ValueError(f"symbols: got {given}, allowed in {data} prices are {known}")
        self._tables: dict[int, _Table] = {}
        worlds, assets = self.num_worlds, self.num_assets
        self._arrays: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
            "assets": np.full(worlds, assets),  # which table each world plays from
            "row": np.zeros(worlds, np.int64),  # of the last bar given out
            "first": np.zeros(worlds, np.int64),  # rows of the span, both included
            "last": np.zeros(worlds, np.int64),
            "scale": np.ones((worlds, assets)),
        }

    def check(self, market: MarketConfig) -> None:
        """Raises ValueError if there are too few symbols, or too few days between `start` and `end`."""
        self._span(market)

    def _span(self, market: MarketConfig) -> tuple[int, int]:
        """First and last row that `market` may play."""
        if market.num_assets > self.num_assets:
            raise ValueError(f"num_assets: got {market.num_assets}, allowed is at most {self.num_assets}")
        dates = self._table(market.num_assets).dates
        first = 0 if market.start is None else int(dates.searchsorted(pd.Timestamp(market.start)))
        last = len(dates) if market.end is None else int(dates.searchsorted(pd.Timestamp(market.end), side="right"))
        if last - first < max(market.horizon, 2):
            raise ValueError(
                f"start, end: got {market.start or dates[0].date()} to {market.end or dates[-1].date()} with "
                f"{max(last - first, 0)} common days of {', '.join(self.symbols[: market.num_assets])}, allowed is a "
                f"span of at least {max(market.horizon, 2)} days within {dates[0].date()} to {dates[-1].date()}"
            )
        return first, last - 1

    def restart(self, worlds: IntArray, markets: Sequence[MarketConfig]) -> None:
        """Draws the first day of an episode in each of `worlds`."""
        arrays = self._arrays
        for world, market in zip(worlds, markets, strict=True):
            first, last = self._span(market)
            latest = last + 1 - max(market.horizon, 1)
            arrays["row"][world] = int(self.streams.generators[world].integers(first, latest + 1)) - 1
            arrays["assets"][world] = market.num_assets
            arrays["first"][world], arrays["last"][world] = first, last
            arrays["scale"][world] = 1.0

    def next(self, worlds: IntArray | None = None) -> Bars:
        """Advances these worlds (all if None) by one day."""
        chosen = np.arange(self.num_worlds) if worlds is None else worlds
        arrays = self._arrays
        for world in chosen[arrays["row"][chosen] >= arrays["last"][chosen]]:
            bars, first = self._table(int(arrays["assets"][world])).bars, arrays["first"][world]
            arrays["scale"][world] *= bars[arrays["last"][world], 3] / bars[first, 0]
            arrays["row"][world] = first - 1
        arrays["row"][chosen] += 1
        found = self._gather(chosen, "bars")
        scale = arrays["scale"][chosen]
        opened, high, low, close = (found[:, kind] * scale for kind in range(4))
        return Bars(opened, high, low, close, found[:, 4] / scale)

    def dates(self) -> list[date]:
        """The day of the last bar given out, in each world."""
        arrays = self._arrays
        return [
            self._table(int(assets)).dates[max(row, 0)].date()
            for assets, row in zip(arrays["assets"], arrays["row"], strict=True)
        ]

    def _gather(self, worlds: IntArray, field: str) -> np.ndarray[Any, np.dtype[Any]]:
        """The present row of one field of each world's table."""
        assets, rows = self._arrays["assets"][worlds], np.maximum(self._arrays["row"][worlds], 0)
        sizes = np.unique(assets)
        if sizes.size == 1:
            return np.asarray(getattr(self._table(int(sizes[0])), field)[rows])
        parts = np.stack([getattr(self._table(int(size)), field)[0] for size in assets])
        for size in sizes:
            mine = assets == size
            parts[mine] = getattr(self._table(int(size)), field)[rows[mine]]
        return parts

    @property
    def truth(self) -> MarketTruth:
        """Mean, deviation and market sensitivity of the 60 days that follow, in hindsight."""
        worlds = np.arange(self.num_worlds)
        beta = np.stack([self._table(int(assets)).beta for assets in self._arrays["assets"]])
        return MarketTruth(
            regime=self._gather(worlds, "regime"),
            drift=self._gather(worlds, "drift"),
            volatility=self._gather(worlds, "volatility"),
            beta=beta,
            factor_volatility=self._gather(worlds, "factor_volatility"),
        )

    @property
    def adv(self) -> PriceArray:
        """Mean volume of the last 60 days [shares], `[B, N]`."""
        return np.asarray(self._gather(np.arange(self.num_worlds), "adv") / self._arrays["scale"])

    def get_state(self) -> dict[str, Any]:
        """The complete state but for the streams' own."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            self._arrays[name][...] = array

    def _table(self, assets: int) -> _Table:
        """The history of the first `assets` symbols, on the days that all of them have."""
        if assets not in self._tables:
            self._tables[assets] = _align(
                [self._prices[symbol] for symbol in self.symbols[:assets]], self.symbols[:assets], self.num_assets
            )
        return self._tables[assets]


def _align(prices: Sequence[pd.DataFrame], symbols: Sequence[str], size: int) -> _Table:
    """Joins the symbols' days, pads to `size` assets, and measures what follows each day."""
    dates = prices[0].index
    for table in prices[1:]:
        dates = dates.intersection(table.index)
    if len(dates) < 2:
        raise ValueError(
            f"symbols: got {', '.join(symbols)}, which have {len(dates)} days in common, allowed are 2 or more"
        )
    assets = len(prices)
    bars = np.ones((len(dates), 5, size))
    for asset, table in enumerate(prices):
        bars[:, :, asset] = table.loc[dates, [*PRICES, "volume"]].to_numpy()
    np.maximum(bars[:, 4], 1.0, out=bars[:, 4])  # a day without trades counts as one share

    returns = np.diff(np.log(bars[:, 3]), axis=0, prepend=np.log(bars[:1, 3]))
    market = returns[:, :assets].mean(axis=1)
    centred = market - market.mean()
    beta = (returns * centred[:, None]).mean(axis=0) / max(float((centred * centred).mean()), 1e-12)
    volatility = _ahead(returns, "std")
    drift = _ahead(returns, "mean") + 0.5 * volatility * volatility
    factor_volatility = np.minimum(_ahead(market[:, None], "std")[:, 0], 1.0)
    # An asset is at least as volatile as its market part.
    volatility = np.maximum(volatility, np.abs(beta) * factor_volatility[:, None])
    adv = pd.DataFrame(bars[:, 4]).rolling(60, min_periods=1).mean().to_numpy()
    regime = _classify(
        drift[:, :assets].mean(axis=1) * BARS_PER_YEAR, volatility[:, :assets].mean(axis=1) * BARS_PER_YEAR**0.5
    )
    return _Table(pd.DatetimeIndex(dates), bars, adv, regime, drift, volatility, beta, factor_volatility)


def _ahead(returns: PriceArray, statistic: str) -> PriceArray:
    """Mean or deviation of the rows that follow each row, `[T, N]`; near the end, the last that could be measured."""
    backward = pd.DataFrame(returns[::-1]).rolling(HINDSIGHT, min_periods=min(_MIN_HINDSIGHT, len(returns) - 1))
    measured = backward.mean() if statistic == "mean" else backward.std(ddof=0)
    following = pd.DataFrame(measured.to_numpy()[::-1]).shift(-1)
    return np.asarray(following.ffill().fillna(0.0), dtype=np.float64)


def _classify(drift: PriceArray, volatility: PriceArray) -> IntArray:
    """The synthetic regime that annual drift and volatility `[T]` look like, as an index into `REGIMES`."""
    names = np.select(
        [
            (volatility > 0.40) & (drift < 0.0),
            volatility > 0.34,
            drift < -0.10,
            drift > 0.18,
        ],
        [
            REGIMES.index(regime)
            for regime in (MarketRegime.CRISIS, MarketRegime.VOLATILE, MarketRegime.BEAR, MarketRegime.BULL)
        ],
        default=REGIMES.index(MarketRegime.CALM),
    )
    return np.asarray(names, dtype=np.int64)
