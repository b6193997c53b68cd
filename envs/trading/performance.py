"""How well each account did in an episode: what reports and metrics are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.synthetic.bars import BARS_PER_YEAR
from envs.trading.accounts import COSTS, Accounts

Array = NDArray[np.float64]


class Performance:
    """Running figures of `A` accounts in `B` worlds.

    Args:
        num_worlds: Worlds `B`.
        initial: Cash at the start, `[1, A]`.

    Attributes:
        peak: Highest equity so far, `[B, A]`.
        drawdown: Fall of equity below its peak [share of the peak], `[B, A]`.
    """

    def __init__(self, num_worlds: int, initial: Array) -> None:
        shape = (num_worlds, initial.shape[1])
        self.initial = initial
        self.peak = np.repeat(initial, num_worlds, axis=0)
        self.drawdown, self._worst = np.zeros(shape), np.zeros(shape)
        self._bars, self._sum, self._squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._turnover, self._calls = np.zeros(shape), np.zeros(shape)
        self._costs = np.zeros((len(COSTS), *shape))
        self._scratch = np.zeros(shape)

    def open(self, worlds: NDArray[np.int64]) -> None:
        """Begins new episodes in `worlds`."""
        self.peak[worlds] = self.initial
        for name in self._ARRAYS[1:-1]:
            getattr(self, name)[worlds] = 0.0
        self._costs[:, worlds] = 0.0

    def record(self, accounts: Accounts, alive: NDArray[np.bool_], growth: Array, turnover: Array) -> None:
        """Takes down a bar.

        Args:
            accounts: After the bar's close.
            alive: Who traded in it, bool `[B, A]`.
            growth: Log return of equity, `[B, A]`; 0 for those who did not trade.
            turnover: Value traded as a multiple of the equity before, `[B, A]`.
        """
        np.maximum(self.peak, accounts.equity, out=self.peak)
        np.divide(accounts.equity, self.peak, out=self.drawdown)
        np.subtract(1.0, self.drawdown, out=self.drawdown)
        np.maximum(self._worst, self.drawdown, out=self._worst)
        self._bars += alive
        self._sum += growth
        self._squares += np.multiply(growth, growth, out=self._scratch)
        self._turnover += turnover
        self._calls += accounts.called
        self._costs += accounts.costs

    def metrics(self, worlds: NDArray[np.int64], present: NDArray[np.bool_], equity: Array) -> dict[str, Array]:
        """Means over the agents that took part, `[E]` each.

        Args:
            worlds: The worlds that ended, `[E]`.
            present: Who took part in them, bool `[E, A]`.
            equity: Final equity, `[E, A]`.

        Returns:
            `profit` (final over initial equity, less 1), `max_drawdown`, `sharpe` (annualised, of log returns,
            risk-free rate 0; 0 where nothing moved), `turnover` (value traded a bar, in multiples of equity),
            `liquidations` (margin calls an agent), and `cost_<kind>` (shares of the initial balance).
        """
        count = np.maximum(present.sum(axis=1), 1)

        def mean(values: Array) -> Array:
            return np.asarray(np.where(present, values, 0.0).sum(axis=1) / count)

        bars = np.maximum(self._bars[worlds], 1.0)
        average = self._sum[worlds] / bars
        variance = self._squares[worlds] / bars - average * average
        moved = variance > 1e-18
        sharpe = np.where(moved, average / np.sqrt(np.where(moved, variance, 1.0)), 0.0) * BARS_PER_YEAR**0.5
        return {
            "profit": mean(equity / self.initial - 1.0),
            "max_drawdown": mean(self._worst[worlds]),
            "sharpe": mean(sharpe),
            "turnover": mean(self._turnover[worlds] / bars),
            "liquidations": mean(self._calls[worlds]),
            **{f"cost_{kind}": mean(self._costs[i, worlds] / self.initial) for i, kind in enumerate(COSTS)},
        }

    _ARRAYS = ("peak", "drawdown", "_worst", "_bars", "_sum", "_squares", "_turnover", "_calls", "_costs")

    def get_state(self) -> dict[str, Any]:
        """All running figures."""
        return {name: getattr(self, name).copy() for name in self._ARRAYS}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name in self._ARRAYS:
            getattr(self, name)[...] = state[name]
