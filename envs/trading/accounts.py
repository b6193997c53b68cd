"""What each agent owns and owes: cash, shares, margin, and every cost it was charged, by kind.

Money is float64 throughout. The books balance: over a bar, equity changes by what the shares held gained or lost at
the exchange's reference mid and at the close, less the costs booked, and by nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.synthetic.bars import BARS_PER_YEAR
from envs.trading.config import Terms
from envs.trading.exchange import Fills

Array = NDArray[np.float64]

COSTS = ("fee", "spread", "impact", "borrow", "loan")
"""Kinds of costs. Impact may be negative for one agent, which is then paid for liquidity, never for all together."""
FEE, SPREAD, IMPACT, BORROW, LOAN = range(len(COSTS))


def sum_assets(values: Array, out: Array) -> Array:
    """Sums `[N, B, A]` over assets, in an order that depends on no shape, unlike `numpy.sum`."""
    np.copyto(out, values[0])
    for plane in values[1:]:
        out += plane
    return out


class Accounts:
    """The accounts of `A` agents in `B` worlds that trade `N` assets.

    Args:
        num_worlds: Worlds `B`.
        num_assets: Assets `N`.
        initial: Cash at the start, `[A]`.
        maintenance_margin: Least equity, as a share of gross exposure.
        bankruptcy_level: Equity, as a share of the initial balance, at which an account is closed.

    Attributes:
        cash: `[B, A]`.
        shares: `[N, B, A]`; negative where sold short.
        values: Value of the shares at the last mark, `[N, B, A]`.
        net: Sum of `values`, `[B, A]`.
        gross: Sum of absolute `values`, `[B, A]`.
        equity: Cash and net value at the last mark, `[B, A]`.
        floor: Equity at or below which an account is closed, `[1, A]`.
        costs: Costs of the last bar by kind, `[5, B, A]`.
        traded: Value traded in the last bar, `[B, A]`.
        called: Accounts whose positions the broker closes at the next open, bool `[B, A]`.
    """

    def __init__(
        self, num_worlds: int, num_assets: int, initial: Array, maintenance_margin: float, bankruptcy_level: float
    ) -> None:
        flat, full = (num_worlds, len(initial)), (num_assets, num_worlds, len(initial))
        self.initial = np.asarray(initial, np.float64)[None]
        self.floor = bankruptcy_level * self.initial
        self.maintenance_margin = maintenance_margin
        self.cash, self.equity = (np.repeat(self.initial, num_worlds, axis=0) for _ in range(2))
        self.net, self.gross, self.traded = np.zeros(flat), np.zeros(flat), np.zeros(flat)
        self.shares, self.values = np.zeros(full), np.zeros(full)
        self.costs = np.zeros((len(COSTS), *flat))
        self.called = np.zeros(flat, np.bool_)
        self._product, self._total = np.zeros(full), np.zeros(flat)

    def open(self, worlds: NDArray[np.int64]) -> None:
        """Opens new accounts in `worlds`: the initial balance in cash, no shares."""
        self.cash[worlds] = self.initial
        self.equity[worlds] = self.initial
        self.called[worlds] = False
        for flat in (self.net, self.gross, self.traded):
            flat[worlds] = 0.0
        for full in (self.shares, self.values, self.costs):
            full[:, worlds] = 0.0

    def _valued(self, quantities: Array, prices: Array, out: Array) -> Array:
        """Sum over assets of quantities `[N, B, A]` at prices `[N, B]`, into `out` `[B, A]`."""
        return sum_assets(np.multiply(quantities, prices[:, :, None], out=self._product), out)

    def settle(self, fills: Fills, terms: Terms) -> None:
        """Exchanges cash for shares, and books what that cost against the reference mid.

        With signed shares `q`, an agent pays `sum q reference` for them, `sum q (price - reference)` of impact,
        `sum |q| half_spread` of spread, and the fee on the value at the price it got, half-spread included.
        """
        costs, total = self.costs, self._total
        self._valued(fills.sizes, fills.price, self.traded)
        self.traded += self._valued(fills.shares, fills.half_spread, total)
        np.multiply(self.traded, terms.transaction_cost[:, None], out=costs[FEE])
        self._valued(fills.sizes, fills.half_spread, costs[SPREAD])
        self._valued(fills.shares, fills.price - fills.reference, costs[IMPACT])
        self.cash -= self._valued(fills.shares, fills.reference, total)
        for kind in (FEE, SPREAD, IMPACT):
            self.cash -= costs[kind]
        self.shares += fills.shares

    def mark(self, close: Array, alive: NDArray[np.bool_], terms: Terms) -> None:
        """Charges a bar's interest, to accounts that are `alive` `[B, A]`, and values all at the close, `[N, B]`."""
        np.multiply(self.shares, close[:, :, None], out=self.values)
        sum_assets(self.values, self.net)
        sum_assets(np.abs(self.values, out=self._product), self.gross)
        # What is sold short is half of what gross exceeds net by: exactly nothing where nothing is.
        np.subtract(self.gross, self.net, out=self._total)
        np.multiply(self._total, 0.5 / BARS_PER_YEAR * terms.borrow_fee[:, None], out=self.costs[BORROW])
        np.minimum(self.cash, 0.0, out=self._total)
        np.multiply(self._total, -terms.loan_rate[:, None] / BARS_PER_YEAR, out=self.costs[LOAN])
        self.costs[LOAN] *= alive
        self.cash -= self.costs[BORROW]
        self.cash -= self.costs[LOAN]
        np.add(self.cash, self.net, out=self.equity)

    def supervise(self, alive: NDArray[np.bool_], quoted: Array, terms: Terms) -> NDArray[np.bool_]:
        """Calls margins, and closes the accounts that are bankrupt.

        The broker takes a bankrupt account's shares at the close, less half-spread and fee; what is then missing stays
        in the books as negative cash.

        Args:
            alive: Who trades, bool `[B, A]`.
            quoted: Half-spread as a share of the mid, `[N, B]`.
            terms: Terms of all worlds.

        Returns:
            Who became bankrupt, bool `[B, A]`.
        """
        np.less(self.equity, self.maintenance_margin * self.gross, out=self.called)
        self.called &= alive
        bankrupt = (self.equity <= self.floor) & alive
        if bankrupt.any():
            sizes = np.abs(self.values)
            spread = self._valued(sizes, quoted, np.zeros_like(self.net))
            fee = self.gross * terms.transaction_cost[:, None]
            for kind, cost in ((SPREAD, spread), (FEE, fee)):
                self.costs[kind] += np.where(bankrupt, cost, 0.0)
            self.cash[:] = np.where(bankrupt, self.cash + self.net - spread - fee, self.cash)
            self.traded += np.where(bankrupt, self.gross, 0.0)
            self.equity[:] = np.where(bankrupt, self.cash, self.equity)
            for array in (self.shares, self.values, self.net, self.gross):
                array *= ~bankrupt
            self.called &= ~bankrupt
        return bankrupt

    _ARRAYS = ("cash", "equity", "net", "gross", "traded", "shares", "values", "costs", "called")

    def get_state(self) -> dict[str, Any]:
        """All accounts."""
        return {name: getattr(self, name).copy() for name in self._ARRAYS}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name in self._ARRAYS:
            getattr(self, name)[...] = state[name]
