"""A synthetic stock market with regimes: batches of worlds, one bar at a time.

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
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from statistics import NormalDist
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.streams import NormalBlocks, WorldStreams
from envs.synthetic.bars import BARS_PER_YEAR, Bars, IntArray, MarketTruth, PriceArray, PriceSource
from envs.synthetic.regimes import REGIMES, TRANSITIONS, MarketRegime, long_run_shares, regime_column

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
_FAST_NOISE = FAST_DEVIATION * ((1 - FAST_PERSISTENCE**2) * (1 - LEVERAGE**2)) ** 0.5
_FAST_LEVERAGE = FAST_DEVIATION * (1 - FAST_PERSISTENCE**2) ** 0.5 * LEVERAGE
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

    Inside, worlds are the *last* axis: short rows of assets would leave NumPy's inner loops nothing to do.

    Args:
        streams: The worlds' random streams.
        symbols: Names of the assets; any will do.
    """

    def __init__(self, streams: WorldStreams, symbols: Sequence[str]) -> None:
        super().__init__(streams, symbols)
        worlds, assets, regimes = self.num_worlds, self.num_assets, len(REGIMES)
        self._normals = NormalBlocks(streams, 5 * (assets + 1) + 5 * assets + 2)
        self._arrays: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
            "fixed": np.zeros(worlds, np.int64),  # the regime held throughout, or -1
            "scales": np.ones((3, worlds)),  # of drift, volatility, duration
            "regime": np.zeros(worlds, np.int64),
            "remaining": np.ones(worlds, np.int64),  # bars left of the spell, the next one included
            "active": np.zeros((assets, worlds)),
            "beta": np.zeros((assets, worlds)),
            "beta_squared": np.zeros((assets, worlds)),
            "close": np.ones((assets, worlds)),
            "adv": np.ones((assets, worlds)),
            "fast": np.zeros((assets + 1, worlds)),
            "slow": np.zeros((assets + 1, worlds)),
            # What each regime would mean for each world's assets, and, below, what the present one means.
            "levels": np.full((regimes, assets + 1, worlds), -np.inf),
            "compensations": np.zeros((regimes, assets, worlds)),
            "volumes": np.zeros((regimes, assets, worlds)),
            "drift": np.zeros((assets, worlds)),
            "level": np.full((assets + 1, worlds), -np.inf),  # log of nominal volatility, less _CENTRE
            "compensation": np.zeros((assets, worlds)),
            "volume": np.zeros((assets, worlds)),  # log of the usual volume, less _VOLUME_CENTRE
            "jump": np.zeros((3, worlds)),  # what a standard normal exceeds if there is one; mean; deviation
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
        fast, slow = np.moveaxis(states, 0, -1)
        active = arrays["active"][:, worlds]
        beta = (1.0 + BETA_DEVIATION * sensitivity) * active
        close = START_PRICE**active * np.exp(PRICE_DEVIATION * price * active)
        arrays["beta"][:, worlds] = beta
        arrays["beta_squared"][:, worlds] = beta * beta
        arrays["close"][:, worlds] = close
        arrays["adv"][:, worlds] = np.where(active > 0, values / close * np.exp(VALUE_DEVIATION * value), 1.0)
        arrays["fast"][:, worlds] = FAST_DEVIATION * fast
        arrays["slow"][:, worlds] = SLOW_DEVIATION * slow
        first = np.minimum((chances >= _SHARES[:, None]).sum(axis=0), len(REGIMES) - 1)
        fixed = arrays["fixed"][worlds]
        arrays["regime"][worlds] = np.where(fixed < 0, first, fixed)
        self._tabulate(worlds, OWN_DEVIATION * own)
        self._normals.restart(worlds)
        self._begin_spells(worlds)

    def _tabulate(self, worlds: IntArray, own: PriceArray) -> None:
        """Works out what each regime means for the assets of `worlds`; `own` is their log own volatility, `[N, W]`."""
        arrays = self._arrays
        active, beta = arrays["active"][:, worlds], arrays["beta"][:, worlds]
        scale = arrays["scales"][1, worlds]
        variance = (_VOLATILITY[:, None] * scale) ** 2 / BARS_PER_YEAR
        levels = np.empty((len(REGIMES), self.num_assets + 1, len(worlds)))
        levels[:, 0] = 0.5 * np.log(variance * _CORRELATION[:, None]) - _CENTRE
        levels[:, 1:] = (0.5 * np.log(variance * (1 - _CORRELATION[:, None])) - _CENTRE)[:, None] + own
        levels[:, 1:] = np.where(active > 0, levels[:, 1:], -np.inf)
        arrays["levels"][:, :, worlds] = levels
        mean, deviation = (column[:, None, None] * scale for column in (_JUMP_MEAN, _JUMP_DEVIATION))
        moment = np.exp(beta * mean + 0.5 * (beta * deviation) ** 2)
        arrays["compensations"][:, :, worlds] = np.log1p(_JUMP_CHANCE[:, None, None] * (moment - 1.0))
        busy = VOLUME_REGIME * np.log(_VOLATILITY / _USUAL_VOLATILITY) - _VOLUME_CENTRE
        arrays["volumes"][:, :, worlds] = np.log(arrays["adv"][:, worlds]) + busy[:, None, None] * active

    def _begin_spells(self, worlds: IntArray) -> None:
        """Draws the length of a new spell of `regime[worlds]`, and every asset's drift in it."""
        arrays = self._arrays
        regime = arrays["regime"][worlds]
        drift_scale, volatility_scale, duration_scale = arrays["scales"][:, worlds]
        half = np.maximum(0.5 * _DURATION[regime] * duration_scale, 1.0)
        draws = np.empty((len(worlds), self.num_assets))
        for row, world in enumerate(worlds):
            generator = self.streams.generators[world]
            generator.standard_normal(out=draws[row])
            arrays["remaining"][world] = int(half[row]) + generator.geometric(1.0 / half[row])
        own = np.clip(draws.T, -MAX_DRAW, MAX_DRAW) * arrays["active"][:, worlds]
        annual = _DRIFT[regime] * arrays["beta"][:, worlds] + _DISPERSION[regime] * own
        arrays["drift"][:, worlds] = annual * drift_scale / BARS_PER_YEAR
        arrays["level"][:, worlds] = arrays["levels"][regime, :, worlds].T
        arrays["compensation"][:, worlds] = arrays["compensations"][regime, :, worlds].T
        arrays["volume"][:, worlds] = arrays["volumes"][regime, :, worlds].T
        arrays["jump"][0, worlds] = _JUMP_THRESHOLD[regime]
        arrays["jump"][1, worlds] = _JUMP_MEAN[regime] * volatility_scale
        arrays["jump"][2, worlds] = _JUMP_DEVIATION[regime] * volatility_scale

    def next(self, worlds: IntArray | None = None) -> Bars:
        """Advances these worlds (all if None) by one bar."""
        rows: Any = slice(None) if worlds is None else worlds
        arrays = self._arrays
        normals = np.ascontiguousarray(self._normals.next(worlds).T)
        count, assets = normals.shape[1], self.num_assets
        parts = normals[: 5 * (assets + 1)].reshape(5, assets + 1, count)
        extremes = normals[5 * (assets + 1) : -2 - assets].reshape(2, 2, assets, count)
        noise, jump_normals = normals[-2 - assets : -2], normals[-2:]
        beta = arrays["beta"][:, rows]
        fast, slow = arrays["fast"][:, rows], arrays["slow"][:, rows]

        state = fast + slow
        scale = np.exp(arrays["level"][:, rows] + state + MIXING * parts[2])
        variances = scale * scale
        variance = variances[1:] + arrays["beta_squared"][:, rows] * variances[0]
        steady = arrays["drift"][:, rows] - 0.5 * variance
        overnight, intraday = parts[0] * OVERNIGHT**0.5, parts[1] * (1 - OVERNIGHT) ** 0.5
        night, day = scale * overnight, scale * intraday
        threshold, mean, deviation = arrays["jump"][:, rows]
        night[0] += (jump_normals[0] > threshold) * (mean + deviation * jump_normals[1])
        gap = OVERNIGHT * steady + night[1:] + beta * night[0] - arrays["compensation"][:, rows]
        move = (1 - OVERNIGHT) * steady + day[1:] + beta * day[0]

        # Extremes of the bridge from 0 to `move`: -2 log(uniform) is the sum of two squared normals.
        extremes = extremes * extremes
        swing = np.sqrt(move * move + (1 - OVERNIGHT) * variance * (extremes[0] + extremes[1]))
        busy = VOLUME_CLUSTERING * state[1:] + VOLUME_MOVE * np.abs((overnight + intraday)[1:]) + VOLUME_NOISE * noise
        paths = np.empty((5, assets, count))
        paths[0] = gap
        paths[1] = 0.5 * (move + swing[0])
        paths[2] = 0.5 * (move - swing[1])
        paths[3] = move
        paths[4] = arrays["volume"][:, rows] + busy * arrays["active"][:, rows]
        np.exp(paths, out=paths)
        opened = arrays["close"][:, rows] * paths[0]
        paths[0] = opened
        paths[1:4] *= opened
        close = paths[3]
        np.maximum(paths[1], np.maximum(opened, close), out=paths[1])  # for rounding only
        np.minimum(paths[2], np.minimum(opened, close), out=paths[2])
        arrays["close"][:, rows] = close

        arrays["fast"][:, rows] = FAST_PERSISTENCE * fast + (
            _FAST_NOISE * parts[3] - _FAST_LEVERAGE * (overnight + intraday)
        )
        arrays["slow"][:, rows] = SLOW_PERSISTENCE * slow + _SLOW_NOISE * parts[4]
        self._age(worlds)
        bars = np.ascontiguousarray(paths.transpose(0, 2, 1))
        return Bars(*bars)

    def _age(self, worlds: IntArray | None) -> None:
        """Counts a bar of the spell, and starts the next spell where this one is over."""
        arrays = self._arrays
        if worlds is None:
            arrays["remaining"] -= 1
            over = np.flatnonzero(arrays["remaining"] == 0)
        else:
            arrays["remaining"][worlds] -= 1
            over = worlds[arrays["remaining"][worlds] == 0]
        if not over.size:
            return
        for world in over:
            if arrays["fixed"][world] < 0:
                chance = self.streams.generators[world].random()
                following = int((chance >= _NEXT[arrays["regime"][world]]).sum())
                arrays["regime"][world] = min(following, len(REGIMES) - 1)
        self._begin_spells(over)

    @property
    def truth(self) -> MarketTruth:
        """What drives the next bar of all worlds: the parameters of the simulation themselves."""
        arrays = self._arrays
        regime = arrays["regime"]
        nominal = np.exp(2 * (arrays["level"] + arrays["fast"] + arrays["slow"] + MIXING**2))
        _, mean, deviation = arrays["jump"]
        chance = _JUMP_CHANCE[regime]
        factor = nominal[0] + chance * (mean * mean + deviation * deviation) - (chance * mean) ** 2
        return MarketTruth(
            regime=regime.copy(),
            drift=np.ascontiguousarray(arrays["drift"].T),
            volatility=np.ascontiguousarray(np.sqrt(nominal[1:] + arrays["beta_squared"] * factor).T),
            beta=np.ascontiguousarray(arrays["beta"].T),
            factor_volatility=np.sqrt(factor),
        )

    @property
    def adv(self) -> PriceArray:
        """Average daily volume [shares], `[B, N]`."""
        return np.ascontiguousarray(self._arrays["adv"].T)

    def get_state(self) -> dict[str, Any]:
        """The complete state but for the streams' own."""
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        return {"normals": self._normals.get_state(), "arrays": arrays}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self._normals.set_state(state["normals"])
        for name, array in state["arrays"].items():
            self._arrays[name][...] = array
