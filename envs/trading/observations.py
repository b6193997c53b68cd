"""What traders see: the layout of an observation, and how it is written.

Every feature is of order 1 by construction (returns in units of volatility, shares of equity, logarithms of ratios) and
cut off at `LIMIT`, so that nothing a market does can blow up a network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import BoolArray, FloatArray
from envs.layout import ObservationLayout
from envs.synthetic.bars import BARS_PER_YEAR, MarketTruth
from envs.synthetic.regimes import REGIMES
from envs.trading.accounts import Accounts
from envs.trading.config import Terms, TradingConfig
from envs.trading.exchange import Exchange
from envs.trading.indicators import MOMENTUM_HORIZONS, MOVING_AVERAGES, TechnicalIndicators
from envs.trading.performance import Performance

Array = NDArray[np.float64]

LIMIT = 10.0
"""Features are cut off at plus and minus this."""

OWN_FEATURES = (
    "cash",  # cash / equity
    "gross",  # gross exposure / equity / max_leverage
    "net",  # net exposure / equity / max_leverage
    "drawdown",  # 5 x fall of equity below its peak
    "margin_headroom",  # 1 - maintenance margin x gross exposure / equity; a margin call below 0
    "wealth",  # 5 x log(equity / initial balance)
    "time_left",  # share of the episode that is left
    "margin_call",  # 1 if the broker closes all positions at the next open
)

# Name and scale of each feature of an asset; those up to `macd_histogram` are in units of volatility too.
_SCALED = {
    "return": 1.0,  # of the last bar
    **{f"momentum_{h}": h**-0.5 for h in MOMENTUM_HORIZONS},  # log return over h bars
    **{f"average_{w}": (w / 3) ** -0.5 for w in MOVING_AVERAGES},  # log(close / moving average)
    "macd": 0.5,  # MACD / close
    "macd_histogram": 1.0,  # (MACD - signal) / close
    "rsi": 0.05,  # RSI - 50
    "bollinger": 1 / 1.5,  # standard deviations from the middle band
    "atr": 50.0,  # average true range / close
    "volatility": 1.0,  # log(volatility / 1.25%)
    "volume": 2.0,  # log(volume / its average)
    "half_spread": 1000.0,  # share of the mid
    "displacement": 10_000.0,  # what is still to decay of the agents' impact on the log mid
    "unfilled": 1.0,  # share of the last orders that was not filled
}
MARKET_FEATURES = tuple(_SCALED)

LEAK = "leaked_return"
"""Log return of the next bar from open to close / volatility; only where the config allows it."""

_LOG_USUAL_VOLATILITY = math.log(0.0125)  # 20% a year
_FEATURES = ("weight", *MARKET_FEATURES, LEAK)
_RETURN, _MACD, _RSI, _BOLLINGER, _ATR, _VOLATILITY, _VOLUME = map(
    _FEATURES.index, ("return", "macd", "rsi", "bollinger", "atr", "volatility", "volume")
)
_HALF_SPREAD, _DISPLACEMENT, _UNFILLED, _LEAKED = map(
    _FEATURES.index, ("half_spread", "displacement", "unfilled", LEAK)
)
_MOMENTUM = _FEATURES.index(f"momentum_{MOMENTUM_HORIZONS[0]}")
_AVERAGES = _FEATURES.index(f"average_{MOVING_AVERAGES[0]}")


def cut(values: NDArray[Any]) -> None:
    """Cuts values off at plus and minus `LIMIT`, in place; a fraction of the cost of `numpy.clip`."""
    np.minimum(values, LIMIT, out=values)
    np.maximum(values, -LIMIT, out=values)


def make_layout(config: TradingConfig) -> ObservationLayout:
    """The layout of every trader's observation."""
    features = _FEATURES if config.allow_leak else _FEATURES[:-1]
    return ObservationLayout(OWN_FEATURES, features, config.symbols, actions_per_entity=1)


def state_size(layout: ObservationLayout) -> int:
    """Width `S` of the global state, which does not grow with the number of agents."""
    assets = layout.num_entities
    return len(layout.own) + assets * len(layout.entity_features) + len(REGIMES) + 5 * assets


@dataclass(slots=True)
class View:
    """What there is to see.

    Attributes:
        indicators: Of the traded prices.
        accounts: Of all agents.
        performance: Of all accounts.
        exchange: With its displacements.
        terms: Of all worlds.
        volatility: Realised volatility per bar, `[B, N]`.
        quoted: Half-spread as a share of the mid, `[N, B]`.
        ratio: Share of the last orders that was filled, `[N, B]`.
        leaked: Log return of the next bar from open to close, `[B, N]`; 0 where it is not leaked.
        truth: What drives the next bar.
        clock: Steps taken, `[B]`.
        alive: Who trades, bool `[B, A]`.
    """

    indicators: TechnicalIndicators
    accounts: Accounts
    performance: Performance
    exchange: Exchange
    terms: Terms
    volatility: Array
    quoted: Array
    ratio: Array
    leaked: Array
    truth: MarketTruth
    clock: NDArray[np.int64]
    alive: BoolArray


class Observer:
    """Writes observations and the global state into arrays that it reuses.

    Args:
        config: Sizes and rules.
        num_worlds: Worlds `B`.
        slices: Where each group's agents lie on the axis of all agents.
    """

    def __init__(self, config: TradingConfig, num_worlds: int, slices: dict[str, slice]) -> None:
        self.layout = layout = make_layout(config)
        self._config = config
        self._slices = slices
        agents = max(part.stop for part in slices.values())
        assets, features = layout.num_entities, len(layout.entity_features)
        # What is the same for all agents of a world is composed once, and copied to each.
        self._row = np.zeros((num_worlds, layout.size), np.float32)
        self._table = self._row[:, layout.entity_slice].reshape(num_worlds, assets, features)
        self._market = np.zeros((features, num_worlds, assets))
        self._scales = np.array([1.0, *_SCALED.values(), 1.0])[:features, None, None]
        self._own = np.zeros((len(layout.own), num_worlds, agents), np.float32)
        self._weights = np.zeros((assets, num_worlds, agents), np.float32)
        self._product = np.zeros((assets, num_worlds, agents))
        self._observations = {
            name: np.zeros((num_worlds, part.stop - part.start, layout.size), np.float32)
            for name, part in slices.items()
        }
        self._state = np.zeros((num_worlds, state_size(layout)), np.float32)

    def write(self, view: View) -> tuple[dict[str, FloatArray], FloatArray]:
        """Writes what is seen now.

        Returns:
            Observations by group, `[B, A, D]`, and the global state, `[B, S]`: the mean of the own features over agents
            alive, the market's features, the true regime (one-hot), then per asset the true drift (a year), the true
            volatility (log), all agents' net and gross positions (shares of their equity), and whether it exists.
        """
        self._write_market(view)
        self._write_own(view)
        layout, everyone = self.layout, bool(view.alive.all())
        for name, part in self._slices.items():
            seen = self._observations[name]
            seen[...] = self._row[:, None, :]
            seen[:, :, layout.own_slice] = self._own[:, :, part].transpose(1, 2, 0)
            layout.entities_of(seen)[..., 0] = self._weights[:, :, part].transpose(1, 2, 0)
            if not everyone:
                seen *= view.alive[:, part, None]
        self._write_state(view, everyone)
        return self._observations, self._state

    def _write_market(self, view: View) -> None:
        """What all agents of a world see of each asset.

        `[B, N]` arrays are small, so that calls cost more than numbers: rows are filled first, and then scaled at once.
        """
        known, market, volatility = view.indicators, self._market, view.volatility
        close, active = known.close, view.terms.active
        averages = slice(_AVERAGES, _AVERAGES + len(MOVING_AVERAGES))
        market[_RETURN] = known.last_return
        market[_MOMENTUM : _MOMENTUM + len(MOMENTUM_HORIZONS)] = known.momentum
        np.divide(close, known.moving_averages, out=market[averages])
        np.divide(known.macd, close, out=market[_MACD])
        np.divide(known.macd - known.macd_signal, close, out=market[_MACD + 1])
        if self._config.allow_leak:
            market[_LEAKED] = view.leaked
        np.divide(known.atr, close, out=market[_ATR])
        np.subtract(known.rsi, 50.0, out=market[_RSI])
        market[_BOLLINGER] = known.bollinger
        market[_VOLATILITY] = volatility
        np.maximum(known.relative_volume, 1e-3, out=market[_VOLUME])
        market[_HALF_SPREAD] = view.quoted.T
        market[_DISPLACEMENT] = view.exchange.transient.T
        np.subtract(1.0, view.ratio.T, out=market[_UNFILLED])
        np.log(market[averages], out=market[averages])
        np.log(market[_VOLATILITY : _VOLUME + 1], out=market[_VOLATILITY : _VOLUME + 1])
        market[_RETURN : _MACD + 2] /= volatility
        if self._config.allow_leak:
            market[_LEAKED] /= volatility
        market[_VOLATILITY] -= _LOG_USUAL_VOLATILITY
        market *= self._scales
        cut(market)
        market *= active
        self._table[...] = market.transpose(1, 2, 0)
        self._row[:, self.layout.mask_slice] = active

    def _write_own(self, view: View) -> None:
        """What each agent sees of itself."""
        accounts, own = view.accounts, self._own
        equity = np.maximum(accounts.equity, accounts.floor)
        inverse = 1.0 / equity
        scaled = inverse * (1.0 / self._config.max_leverage)
        np.multiply(accounts.cash, inverse, out=own[0])
        np.multiply(accounts.gross, scaled, out=own[1])
        np.multiply(accounts.net, scaled, out=own[2])
        np.multiply(view.performance.drawdown, 5.0, out=own[3])
        np.multiply(accounts.gross, -accounts.maintenance_margin * inverse, out=own[4])
        own[4] += 1.0
        np.multiply(np.log(equity / accounts.initial), 5.0, out=own[5])
        own[6] = (1.0 - view.clock / view.terms.limits)[:, None]
        own[7] = accounts.called
        cut(own)
        np.multiply(accounts.values, scaled, out=self._weights)
        cut(self._weights)

    def _write_state(self, view: View, everyone: bool) -> None:
        """What a central critic sees, the truth about the market included."""
        layout, accounts, truth, state = self.layout, view.accounts, view.truth, self._state
        assets = layout.num_entities
        count = view.alive.sum(axis=1)
        own = (self._own if everyone else self._own * view.alive).sum(axis=2)
        wealth = np.maximum(accounts.equity.sum(axis=1), accounts.floor.sum())
        parts = (
            (own / np.maximum(count, 1)).T,
            self._row[:, layout.entity_slice],
            truth.regime[:, None] == np.arange(len(REGIMES)),
            truth.drift * BARS_PER_YEAR,
            (np.log(np.maximum(truth.volatility, 1e-4)) - _LOG_USUAL_VOLATILITY) * view.terms.active,
            (accounts.values.sum(axis=2) / wealth).T,
            (np.abs(accounts.values, out=self._product).sum(axis=2) / wealth).T,
            view.terms.active,
        )
        start = 0
        for part in parts:
            state[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        assert start == state.shape[1], (start, assets)
        cut(state)
