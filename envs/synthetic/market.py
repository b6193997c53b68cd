"""A synthetic stock market with regimes: batches of worlds, simulated some bars ahead.

The log return of asset `i` over a bar is

    r_i = mu_i - v_i / 2 + beta_i x_0 + x_i + beta_i J - compensation_i,    x_c = s_c sqrt(W_c) z_c,

with a market factor (component 0) and a part of each asset's own (components 1 … N). Every random ingredient is
compensated, so `E[exp(r_i)] = exp(mu_i)` exactly: with `drift_scale = 0` prices are martingales and nobody can earn.

- `s` is stochastic volatility: the logarithm is the sum of a fast and a slow Gaussian AR(1) (two components give the
  slow decay of volatility clustering: Engle & Lee 1999, Alizadeh, Brandt & Diebold 2002). The fast one falls with the
  last return's shock: the leverage effect (Black 1976).
- `W` is a lognormal mixing variable, drawn with the bar: fat tails within a day (Clark 1973). `v` is the variance given
  `W`, hence the exact compensation, which Student-t returns would not have (their exponential has no mean).
- `J` is a rare market jump, compensated by its own mean (Merton 1976).
- Regimes come in spells; each redraws every asset's drift `mu`, which then persists to the end of the spell.

A bar splits into an overnight gap and a day. The day's high and low are the extremes of a Brownian bridge from open to
close, drawn from their exact marginal laws (Karatzas & Shreve 1991, section 2.8).

Nothing that agents do enters here, so each world is simulated a block of bars at a time and hands them out one by one:
what a call of NumPy costs is shared by the whole block, even where a single world needs one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.streams import WorldStreams
from envs.synthetic.bars import BARS_PER_YEAR, Bars, IntArray, MarketTruth, PriceArray, PriceSource
from envs.synthetic.regimes import REGIMES, TRANSITIONS, MarketRegime, long_run_shares, regime_column

BLOCK = 64  # bars that a world is simulated ahead
OVERNIGHT = 0.2  # share of a bar's variance and drift in the gap between close and open
FAST_PERSISTENCE, FAST_DEVIATION = 0.85, 0.20  # of log volatility: half-life of some 4 bars
SLOW_PERSISTENCE, SLOW_DEVIATION = 0.997, 0.40  # half-life of some 230 bars
MIXING = 0.30  # deviation of log sqrt(W)
LEVERAGE = 0.50  # minus the correlation of the fast component's innovation with the return's shock
BETA_DEVIATION, OWN_DEVIATION = 0.25, 0.15  # across assets: of beta, and of the log of own volatility
MAX_DRAW = 2.0  # assets' traits and drifts are drawn from normals cut off here: no absurd stocks
VOLUME_CLUSTERING, VOLUME_MOVE, VOLUME_NOISE = 0.7, 0.35, 0.25  # log volume: per log volatility, per |z|, pure noise
VOLUME_REGIME = 0.5  # log volume per log of the regime's volatility over the usual one
_USUAL_VOLATILITY = 0.24
START_PRICE, PRICE_DEVIATION, VALUE_DEVIATION = (
    100.0,
    0.3,
    0.4,
)  # first price; deviations of its log, and of traded value

_DRIFT, _DISPERSION = regime_column("drift"), regime_column("dispersion")
_VOLATILITY, _CORRELATION = regime_column("volatility"), regime_column("correlation")
_DURATION = regime_column("duration")
_JUMP_MEAN, _JUMP_DEVIATION = regime_column("jump_mean"), regime_column("jump_deviation")
_JUMP_CHANCE = regime_column("jumps") / BARS_PER_YEAR
# What a standard normal exceeds with the chance of a jump.
_JUMP_THRESHOLD = np.array([NormalDist().inv_cdf(1 - chance) if chance > 0 else np.inf for chance in _JUMP_CHANCE])
_SHARES = long_run_shares().cumsum()
_NEXT = TRANSITIONS.cumsum(axis=1)
_DEVIATIONS = np.array([FAST_DEVIATION, SLOW_DEVIATION])[:, None, None]
_FAST_NOISE = FAST_DEVIATION * ((1 - FAST_PERSISTENCE**2) * (1 - LEVERAGE**2)) ** 0.5
_FAST_LEVERAGE = FAST_DEVIATION * (1 - FAST_PERSISTENCE**2) ** 0.5 * LEVERAGE
_PERSISTENCE = np.array([FAST_PERSISTENCE, SLOW_PERSISTENCE])[:, None, None]
_SLOW_NOISE = SLOW_DEVIATION * (1 - SLOW_PERSISTENCE**2) ** 0.5
_LOG_VARIANCE = FAST_DEVIATION**2 + SLOW_DEVIATION**2
# Half the log of E[s^2 W], which keeps the mean variance at its nominal value, and the log mean of volume's own noise.
_CENTRE = _LOG_VARIANCE + MIXING**2
_VOLUME_CENTRE = 0.5 * (VOLUME_CLUSTERING**2 * _LOG_VARIANCE + VOLUME_NOISE**2 + VOLUME_MOVE**2) + math.log(
    2 * NormalDist().cdf(VOLUME_MOVE)
)


class MarketConfig(BaseModel):
    """What market an episode plays in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_assets: int = Field(4, ge=1, description="Assets in play: the first so many of the source's symbols.")
    regime: MarketRegime = Field(MarketRegime.SWITCHING, description="Regime held throughout, or `switching`.")
    drift_scale: float = Field(
        1.0, ge=0, le=20, allow_inf_nan=False, description="Multiplies all drifts; 0 makes prices martingales."
    )
    volatility_scale: float = Field(
        1.0, gt=0, le=5, allow_inf_nan=False, description="Multiplies all volatilities and jump sizes."
    )
    duration_scale: float = Field(
        1.0, ge=0.05, le=100, allow_inf_nan=False, description="Multiplies the mean length of spells."
    )
    daily_value: float = Field(
        5e7, gt=0, allow_inf_nan=False, description="Typical value traded in an asset a day [currency]."
    )
    start: date | None = Field(None, description="Historical prices: first date that may be played; None is the first.")
    end: date | None = Field(None, description="Historical prices: last date that may be played; None is the last.")
    horizon: int = Field(
        0, ge=0, description="Historical prices: bars that an episode will ask for, so that its window fits the span."
    )

    @model_validator(mode="after")
    def _check_dates(self) -> MarketConfig:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start: got {self.start}, allowed is a date before end, {self.end}")
        return self


class SyntheticMarket(PriceSource):
    """Worlds of simulated prices; see the module's text for the model.

    Inside, worlds come after assets, and bars last of all: short rows of assets would leave NumPy's inner loops nothing
    to do.

    Args:
        streams: The worlds' random streams.
        symbols: Names of the assets; any will do.
    """

    def __init__(self, streams: WorldStreams, symbols: Sequence[str]) -> None:
        super().__init__(streams, symbols)
        worlds, assets = self.num_worlds, self.num_assets
        self._arrays: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
            "fixed": np.zeros(worlds, np.int64),  # the regime held throughout, or -1
            "scales": np.ones((3, worlds)),  # of drift, volatility, duration
            "active": np.zeros((assets, worlds)),
            "beta": np.zeros((assets, worlds)),
            "adv": np.ones((assets, worlds)),
            # What each regime means for each world: see `_tabulate`.
            "meanings": np.zeros((3 * assets + 4, worlds, len(REGIMES))),
            # Where the block leaves off.
            "regime": np.zeros(worlds, np.int64),
            "remaining": np.ones(worlds, np.int64),  # bars left of the spell, the next one included
            "drift": np.zeros((assets, worlds)),
            "swings": np.zeros((2, assets + 1, worlds)),  # fast and slow part of log volatility
            "close": np.ones((assets, worlds)),
            # The block itself, and how much of it is used; of the truth there is one row more, for the bar after it.
            "cursor": np.full(worlds, BLOCK),
            "bars": np.ones((worlds, BLOCK, 5, assets)),
            "regimes": np.zeros((worlds, BLOCK + 1), np.int64),
            "truths": np.zeros((worlds, BLOCK + 1, 2 * assets + 1)),  # drift, volatility; the factor's volatility
        }

    def check(self, market: MarketConfig) -> None:
        """Raises ValueError if there are too few symbols, or if dates are given."""
        if market.num_assets > self.num_assets:
            raise ValueError(f"num_assets: got {market.num_assets}, allowed is at most {self.num_assets}")
        if market.start is not None or market.end is not None:
            raise ValueError("start, end: got dates for synthetic prices, allowed are dates for historical prices only")

    def restart(self, worlds: IntArray, markets: Sequence[MarketConfig]) -> None:
        """Draws new assets, and a first spell, in each of `worlds`."""
        if not len(worlds):
            return
        arrays, assets = self._arrays, self.num_assets
        traits = np.empty((len(worlds), 4, assets))
        states = np.empty((len(worlds), 2, assets + 1))
        chances, values = np.empty(len(worlds)), np.empty(len(worlds))
        for row, (world, market) in enumerate(zip(worlds, markets, strict=True)):
            self.check(market)
            generator = self.streams.generators[world]
            generator.standard_normal(out=traits[row])
            generator.standard_normal(out=states[row])
            chances[row] = generator.random()
            switching = market.regime is MarketRegime.SWITCHING
            arrays["fixed"][world] = -1 if switching else REGIMES.index(market.regime)
            arrays["scales"][:, world] = market.drift_scale, market.volatility_scale, market.duration_scale
            arrays["active"][:, world] = np.arange(assets) < market.num_assets
            values[row] = market.daily_value
        sensitivity, own, price, value = np.clip(np.moveaxis(traits, 0, -1), -MAX_DRAW, MAX_DRAW)
        active = arrays["active"][:, worlds]
        close = START_PRICE**active * np.exp(PRICE_DEVIATION * price * active)
        arrays["beta"][:, worlds] = (1.0 + BETA_DEVIATION * sensitivity) * active
        arrays["close"][:, worlds] = close
        arrays["adv"][:, worlds] = np.where(active > 0, values / close * np.exp(VALUE_DEVIATION * value), 1.0)
        arrays["swings"][:, :, worlds] = _DEVIATIONS * np.moveaxis(states, 0, -1)
        first = np.minimum((chances >= _SHARES[:, None]).sum(axis=0), len(REGIMES) - 1)
        fixed = arrays["fixed"][worlds]
        arrays["regime"][worlds] = np.where(fixed < 0, first, fixed)
        arrays["meanings"][:, worlds] = self._tabulate(worlds, OWN_DEVIATION * own)
        self._begin_spells(worlds)
        self._simulate(worlds)

    def _tabulate(self, worlds: IntArray, own: PriceArray) -> PriceArray:
        """What each regime means for the assets of `worlds`, `[3 N + 4, W, R]`.

        Args:
            worlds: The worlds, `[W]`.
            own: Log of the assets' own volatility, `[N, W]`.

        Returns:
            Log of nominal volatility, less `_CENTRE`, of the factor and of each asset; log of what jumps are
            compensated by, of each asset; log of the usual volume, less `_VOLUME_CENTRE`, of each asset; and of jumps,
            what a standard normal exceeds if there is one, their mean and their deviation.
        """
        arrays, assets = self._arrays, self.num_assets
        active, beta = arrays["active"][:, worlds, None], arrays["beta"][:, worlds, None]
        scale = arrays["scales"][1, worlds, None]
        meanings = np.empty((3 * assets + 4, len(worlds), len(REGIMES)))
        levels, compensation, volume, jump = np.split(meanings, np.cumsum([assets + 1, assets, assets]))
        variance = (_VOLATILITY * scale) ** 2 / BARS_PER_YEAR
        levels[0] = 0.5 * np.log(variance * _CORRELATION) - _CENTRE
        levels[1:] = 0.5 * np.log(variance * (1 - _CORRELATION)) - _CENTRE + own[..., None]
        levels[1:] = np.where(active > 0, levels[1:], -np.inf)
        jump[0], jump[1], jump[2] = _JUMP_THRESHOLD, _JUMP_MEAN * scale, _JUMP_DEVIATION * scale
        moment = np.exp(beta * jump[1] + 0.5 * (beta * jump[2]) ** 2)
        compensation[...] = np.log1p(_JUMP_CHANCE * (moment - 1.0))
        busy = VOLUME_REGIME * np.log(_VOLATILITY / _USUAL_VOLATILITY) - _VOLUME_CENTRE
        volume[...] = np.log(arrays["adv"][:, worlds, None]) + busy * active
        return meanings

    def _begin_spells(self, worlds: IntArray) -> None:
        """Draws the length of a new spell of `regime[worlds]`, and every asset's drift in it."""
        arrays = self._arrays
        regime = arrays["regime"][worlds]
        drift_scale, _, duration_scale = arrays["scales"][:, worlds]
        half = np.maximum(0.5 * _DURATION[regime] * duration_scale, 1.0)
        draws = np.empty((len(worlds), self.num_assets))
        for row, world in enumerate(worlds):
            generator = self.streams.generators[world]
            generator.standard_normal(out=draws[row])
            arrays["remaining"][world] = int(half[row]) + generator.geometric(1.0 / half[row])
        own = np.clip(draws.T, -MAX_DRAW, MAX_DRAW) * arrays["active"][:, worlds]
        annual = _DRIFT[regime] * arrays["beta"][:, worlds] + _DISPERSION[regime] * own
        arrays["drift"][:, worlds] = annual * drift_scale / BARS_PER_YEAR

    def _switch(self, worlds: IntArray) -> None:
        """Starts the spell that follows in each of `worlds`."""
        arrays = self._arrays
        for world in worlds:
            if arrays["fixed"][world] < 0:
                chance = self.streams.generators[world].random()
                following = int((chance >= _NEXT[arrays["regime"][world]]).sum())
                arrays["regime"][world] = min(following, len(REGIMES) - 1)
        self._begin_spells(worlds)

    def _lay_out(self, worlds: IntArray) -> tuple[IntArray, PriceArray]:
        """Lays out the spells of the next block: regime, `[W, T + 1]`, and drifts, `[N, W, T + 1]`, of each bar."""
        arrays = self._arrays
        regimes = np.repeat(arrays["regime"][worlds, None], BLOCK + 1, axis=1)
        drifts = np.repeat(arrays["drift"][:, worlds, None], BLOCK + 1, axis=2)
        begins = arrays["remaining"][worlds]  # the bar of the block at which the next spell begins
        while (rows := np.flatnonzero(begins <= BLOCK)).size:
            self._switch(worlds[rows])
            for row in rows:
                regimes[row, begins[row] :] = arrays["regime"][worlds[row]]
                drifts[:, row, begins[row] :] = arrays["drift"][:, worlds[row], None]
            begins[rows] += arrays["remaining"][worlds[rows]]
        arrays["remaining"][worlds] = begins - BLOCK
        return regimes, drifts

    def _simulate(self, worlds: IntArray) -> None:
        """Simulates the next block of bars of `worlds`; arrays inside are `[…, W, T]`."""
        arrays, assets = self._arrays, self.num_assets
        normals = np.empty((5 * (assets + 1) + 5 * assets + 2, len(worlds), BLOCK))
        drawn = np.empty((BLOCK, len(normals)))
        for row, world in enumerate(worlds):
            self.streams.generators[world].standard_normal(out=drawn)
            normals[:, row] = drawn.T
        parts = normals[: 5 * (assets + 1)].reshape(5, assets + 1, len(worlds), BLOCK)
        extremes = normals[5 * (assets + 1) : -2 - assets].reshape(2, 2, assets, len(worlds), BLOCK)
        noise, jump_normals = normals[-2 - assets : -2], normals[-2:]

        regimes, drifts = self._lay_out(worlds)
        table = arrays["meanings"][:, worlds].reshape(3 * assets + 4, -1)
        meant = table[:, regimes + len(REGIMES) * np.arange(len(worlds))[:, None]]
        levels, compensation, volume, jump = np.split(meant, np.cumsum([assets + 1, assets, assets]))
        beta = arrays["beta"][:, worlds, None]
        overnight, intraday = parts[0] * OVERNIGHT**0.5, parts[1] * (1 - OVERNIGHT) ** 0.5
        shock = overnight + intraday
        fast, slow = swings = self._swing(
            worlds, _FAST_NOISE * parts[3] - _FAST_LEVERAGE * shock, _SLOW_NOISE * parts[4]
        )
        arrays["swings"][:, :, worlds] = swings[..., -1]
        arrays["regimes"][worlds] = regimes
        arrays["truths"][worlds] = _truths(levels + fast + slow, drifts, beta, _JUMP_CHANCE[regimes], jump)
        levels, drift, compensation, volume, (threshold, mean, deviation), swing = (
            array[..., :-1] for array in (levels, drifts, compensation, volume, jump, fast + slow)
        )

        scale = np.exp(levels + swing + MIXING * parts[2])
        variances = scale * scale
        variance = variances[1:] + beta * beta * variances[0]
        steady = drift - 0.5 * variance
        night, day = scale * overnight, scale * intraday
        night[0] += (jump_normals[0] > threshold) * (mean + deviation * jump_normals[1])
        gap = OVERNIGHT * steady + night[1:] + beta * night[0] - compensation
        move = (1 - OVERNIGHT) * steady + day[1:] + beta * day[0]

        # Extremes of the bridge from 0 to `move`: -2 log(uniform) is the sum of two squared normals.
        extremes *= extremes
        reach = np.sqrt(move * move + (1 - OVERNIGHT) * variance * (extremes[0] + extremes[1]))
        busy = VOLUME_CLUSTERING * swing[1:] + VOLUME_MOVE * np.abs(shock[1:]) + VOLUME_NOISE * noise
        # From the last close through each open and close in turn.
        prices = np.empty((assets, len(worlds), 2 * BLOCK + 1))
        prices[..., 0] = arrays["close"][:, worlds]
        prices[..., 1::2] = np.exp(gap)
        prices[..., 2::2] = np.exp(move)
        np.multiply.accumulate(prices, axis=-1, out=prices)
        opened, close = prices[..., 1::2], prices[..., 2::2]
        high = np.exp(0.5 * (move + reach[0])) * opened
        low = np.exp(0.5 * (move - reach[1])) * opened
        bars = np.empty((5, *close.shape))
        bars[0] = opened
        np.maximum(high, np.maximum(opened, close), out=bars[1])  # for rounding only
        np.minimum(low, np.minimum(opened, close), out=bars[2])
        bars[3] = close
        np.exp(volume + busy * arrays["active"][:, worlds, None], out=bars[4])
        arrays["close"][:, worlds] = close[..., -1]
        arrays["bars"][worlds] = bars.transpose(2, 3, 0, 1)
        arrays["cursor"][worlds] = 0

    def _swing(self, worlds: IntArray, *innovations: PriceArray) -> PriceArray:
        """Fast and slow part of log volatility before each bar and after the last, `[2, N + 1, W, T + 1]`."""
        swings = np.empty((BLOCK + 1, 2, self.num_assets + 1, len(worlds)))
        swings[0] = self._arrays["swings"][:, :, worlds]
        np.moveaxis(swings[1:], 0, -1)[...] = innovations
        for before, after in pairwise(swings):
            after += _PERSISTENCE * before
        return np.ascontiguousarray(np.moveaxis(swings, 0, -1))

    def next(self, worlds: IntArray | None = None) -> Bars:
        """Advances these worlds (all if None) by one bar."""
        arrays = self._arrays
        chosen = np.arange(self.num_worlds) if worlds is None else worlds
        cursor = self._ready(chosen)
        arrays["cursor"][chosen] = cursor + 1
        return Bars(*np.ascontiguousarray(arrays["bars"][chosen, cursor].swapaxes(0, 1)))

    def history(self, worlds: IntArray, count: int) -> Bars:
        """Advances these worlds by several bars: as far at once as the block of every one of them goes."""
        arrays, pieces = self._arrays, []
        while count:
            cursor = self._ready(worlds)
            bars = min(count, BLOCK - int(cursor.max()))
            pieces.append(arrays["bars"][worlds, cursor + np.arange(bars)[:, None]])
            arrays["cursor"][worlds] = cursor + bars
            count -= bars
        return Bars(*np.ascontiguousarray(np.moveaxis(np.concatenate(pieces), 2, 0)))

    def _ready(self, worlds: IntArray) -> IntArray:
        """Sees to it that each of `worlds` has a bar to hand out; which of its block it is, `[W]`."""
        cursor: IntArray = self._arrays["cursor"][worlds]
        if (spent := cursor == BLOCK).any():
            self._simulate(worlds[spent])
            cursor[spent] = 0
        return cursor

    @property
    def truth(self) -> MarketTruth:
        """What drives the next bar of all worlds: the parameters of the simulation themselves."""
        arrays, assets = self._arrays, self.num_assets
        now = np.arange(self.num_worlds), arrays["cursor"]
        truths = arrays["truths"][now]
        return MarketTruth(
            regime=arrays["regimes"][now],
            drift=truths[:, :assets],
            volatility=truths[:, assets:-1],
            beta=np.ascontiguousarray(arrays["beta"].T),
            factor_volatility=truths[:, -1],
        )

    @property
    def adv(self) -> PriceArray:
        """Average daily volume [shares], `[B, N]`."""
        return np.ascontiguousarray(self._arrays["adv"].T)

    def get_state(self) -> dict[str, Any]:
        """The complete state but for the streams' own."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            self._arrays[name][...] = array


def _truths(
    levels: PriceArray, drifts: PriceArray, beta: PriceArray, chance: PriceArray, jump: PriceArray
) -> PriceArray:
    """What drives each bar of a block: `[W, T + 1, 2 N + 1]`, drift, volatility and, last, the factor's volatility.

    Args:
        levels: Log of nominal volatility at its present swing, less `_CENTRE`, `[N + 1, W, T + 1]`.
        drifts: Of the assets, `[N, W, T + 1]`.
        beta: Of the assets, `[N, W, 1]`.
        chance: That the bar has a jump, `[W, T + 1]`.
        jump: Threshold, mean and deviation, `[3, W, T + 1]`.
    """
    nominal = np.exp(2 * (levels + MIXING**2))
    _, mean, deviation = jump
    factor = nominal[0] + chance * (mean * mean + deviation * deviation) - (chance * mean) ** 2
    volatility = np.sqrt(nominal[1:] + beta * beta * factor)
    return np.moveaxis(np.concatenate([drifts, volatility, np.sqrt(factor)[None]]), 0, -1)
