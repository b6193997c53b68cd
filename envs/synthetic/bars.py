"""What a source of prices gives: bars for agents to trade on, and the truth behind them for oracles only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from envs.streams import WorldStreams

if TYPE_CHECKING:
    from envs.synthetic.market import MarketConfig

BARS_PER_YEAR = 252
"""A bar is a trading day wherever something is annualised."""

PriceArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(slots=True)
class Bars:
    """One bar of every asset in every world asked for, float64 `[B, N]`, in arrays of the caller's own.

    Assets that are not in play have price 1, volume 1 and never move.

    Attributes:
        open: First price; differs from the last close by the overnight gap.
        high: Highest price, at least `max(open, close)`.
        low: Lowest price, at most `min(open, close)`.
        close: Last price.
        volume: Shares traded.
    """

    open: PriceArray
    high: PriceArray
    low: PriceArray
    close: PriceArray
    volume: PriceArray


@dataclass(slots=True)
class MarketTruth:
    """What drives the *next* bar. No learner may see it; a regime oracle reads it.

    Log returns are `drift - volatility^2 / 2 + beta * market + own part`, so that `exp(drift)` is the expected gross
    return and a drift of zero makes prices martingales. The covariance of returns is
    `beta beta' factor_volatility^2 + diag(volatility^2 - beta^2 factor_volatility^2)`.

    Attributes:
        regime: Index into `envs.synthetic.regimes.REGIMES`, int64 `[B]`.
        drift: Logarithm of the expected gross return of a bar, `[B, N]`.
        volatility: Standard deviation of a bar's log return, jumps included, `[B, N]`.
        beta: Sensitivity to the market factor, `[B, N]`.
        factor_volatility: Standard deviation of the market factor in a bar, jumps included, `[B]`.
    """

    regime: IntArray
    drift: PriceArray
    volatility: PriceArray
    beta: PriceArray
    factor_volatility: PriceArray


class PriceSource(ABC):
    """Prices of `N` assets in `B` worlds, bar by bar.

    Worlds are independent, and a world in a batch is the world alone, to the bit.

    Args:
        streams: The worlds' random streams; whoever owns them restarts them *before* `restart`.
        symbols: Names of the assets, `[N]`, sized for the largest task of the run.
    """

    def __init__(self, streams: WorldStreams, symbols: Sequence[str]) -> None:
        if not symbols or len(set(symbols)) != len(symbols):
            raise ValueError(f"symbols: got {list(symbols)}, allowed are one or more different names")
        self.streams = streams
        self.symbols = tuple(symbols)
        self.num_worlds = len(streams.generators)

    @property
    def num_assets(self) -> int:
        """Assets `N`, in play or not."""
        return len(self.symbols)

    @abstractmethod
    def check(self, market: MarketConfig) -> None:
        """Raises ValueError, naming the field, if this source cannot play `market`."""

    @abstractmethod
    def restart(self, worlds: IntArray, markets: Sequence[MarketConfig]) -> None:
        """Begins a new history in each of `worlds`; `markets[i]` belongs to `worlds[i]`."""

    @abstractmethod
    def next(self, worlds: IntArray | None = None) -> Bars:
        """Advances these worlds (all if None) by one bar.

        Args:
            worlds: Indices of the worlds, each at most once.

        Returns:
            The bars of exactly those worlds, in their order.
        """

    def history(self, worlds: IntArray, count: int) -> Bars:
        """Advances these worlds by several bars.

        Args:
            worlds: Indices of the worlds, each at most once.
            count: Number of bars, at least 1.

        Returns:
            What `next` would have returned in as many calls, each array `[count, W, N]`.
        """
        passed = [self.next(worlds) for _ in range(count)]
        return Bars(*(np.stack([getattr(bar, kind.name) for bar in passed]) for kind in fields(Bars)))

    @property
    @abstractmethod
    def truth(self) -> MarketTruth:
        """What drives the next bar of all worlds."""

    @property
    @abstractmethod
    def adv(self) -> PriceArray:
        """Average daily volume [shares], `[B, N]`; 1 where the asset is not in play."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """The complete state but for the streams' own: arrays and plain values, nothing shared with the source."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
