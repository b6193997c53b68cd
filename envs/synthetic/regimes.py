"""Market regimes: what each does to drifts, volatilities and correlations, and how one follows another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class MarketRegime(StrEnum):
    """The state of a market; `SWITCHING` moves through the five others."""

    CALM = "calm"
    BULL = "bull"
    BEAR = "bear"
    VOLATILE = "volatile"
    CRISIS = "crisis"
    SWITCHING = "switching"


REGIMES: tuple[MarketRegime, ...] = (
    MarketRegime.CALM,
    MarketRegime.BULL,
    MarketRegime.BEAR,
    MarketRegime.VOLATILE,
    MarketRegime.CRISIS,
)
"""The regimes a market can be in at one moment; `MarketTruth.regime` indexes them."""


@dataclass(frozen=True)
class RegimeParameters:
    """One regime, in annual units unless said otherwise.

    Attributes:
        drift: Drift of an asset with beta 1.
        dispersion: Standard deviation, across assets, of the drift of their own that each draws for a spell. It is what
            makes a cross-section worth trading: it persists for the whole spell, so past returns reveal it.
        volatility: Volatility of an asset with beta 1.
        correlation: Correlation of two assets with beta 1.
        jumps: Expected market jumps a year.
        jump_mean: Mean log size of a jump.
        jump_deviation: Standard deviation of the log size of a jump.
        duration: Mean length of a spell [bars]: a fixed half and a geometric half.
    """

    drift: float
    dispersion: float
    volatility: float
    correlation: float
    jumps: float
    jump_mean: float
    jump_deviation: float
    duration: float


# Correlations follow US stocks: 0.17 in the calm half of days, 0.49 in the top decile of volatility (1990-2022).
REGIME_PARAMETERS: dict[MarketRegime, RegimeParameters] = {
    MarketRegime.CALM: RegimeParameters(0.06, 0.20, 0.14, 0.17, 0.0, 0.0, 0.0, 90),
    MarketRegime.BULL: RegimeParameters(0.30, 0.20, 0.18, 0.25, 0.0, 0.0, 0.0, 100),
    MarketRegime.BEAR: RegimeParameters(-0.35, 0.25, 0.26, 0.35, 1.0, -0.02, 0.02, 70),
    MarketRegime.VOLATILE: RegimeParameters(0.00, 0.60, 0.36, 0.30, 1.0, 0.0, 0.03, 60),
    MarketRegime.CRISIS: RegimeParameters(-0.90, 0.40, 0.52, 0.55, 8.0, -0.03, 0.03, 40),
}
"""Drifts are stronger than the long-run record, so that an episode of a year shows what a regime is."""

TRANSITIONS: NDArray[np.float64] = np.array(
    [
        # calm  bull  bear  volatile crisis
        [0.00, 0.55, 0.20, 0.22, 0.03],
        [0.50, 0.00, 0.20, 0.27, 0.03],
        [0.25, 0.25, 0.00, 0.30, 0.20],
        [0.25, 0.25, 0.25, 0.00, 0.25],
        [0.05, 0.25, 0.25, 0.45, 0.00],
    ]
)
"""Which regime follows which, rows and columns as in `REGIMES`; a spell is never followed by its own regime."""


def long_run_shares() -> NDArray[np.float64]:
    """Share of all bars that a switching market spends in each regime, `[5]`.

    The stationary law of the sequence of spells, weighted by their mean lengths (a semi-Markov chain).
    """
    size = len(REGIMES)
    system = np.vstack([TRANSITIONS.T - np.eye(size), np.ones(size)])
    spells, *_ = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)
    shares = spells * [REGIME_PARAMETERS[regime].duration for regime in REGIMES]
    return np.asarray(shares / shares.sum())


def regime_column(name: str) -> NDArray[np.float64]:
    """One field of `RegimeParameters` for all regimes, `[5]`, in the order of `REGIMES`."""
    return np.array([getattr(REGIME_PARAMETERS[regime], name) for regime in REGIMES], dtype=np.float64)
