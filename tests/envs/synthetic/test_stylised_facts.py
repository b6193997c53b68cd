"""The switching market shows the stylised facts of daily stock returns (Cont 2001).

Gates are set around what was measured on 20 US stocks, 1990-2022, and the S&P 500, 1999-2018; medians over simulated
stocks must lie within them.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from envs.streams import WorldStreams
from envs.synthetic.market import MarketConfig, SyntheticMarket
from envs.synthetic.regimes import REGIMES, MarketRegime

WORLDS, ASSETS, BARS = 25, 4, 6000


@pytest.fixture(scope="module")
def simulated() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Daily log returns `[T, B, N]`, and the regime that drove them `[T, B]`."""
    streams = WorldStreams(WORLDS)
    streams.seed = 2001
    market = SyntheticMarket(streams, [f"S{n}" for n in range(ASSETS)])
    worlds = np.arange(WORLDS)
    streams.restart(worlds, np.zeros(WORLDS, np.int64))
    market.restart(worlds, [MarketConfig(num_assets=ASSETS, regime=MarketRegime.SWITCHING)] * WORLDS)
    prices, regimes = [market.next().close], []
    for _ in range(BARS):
        regimes.append(market.truth.regime)
        prices.append(market.next().close)
    return np.diff(np.log(prices), axis=0), np.array(regimes)


@pytest.fixture(scope="module")
def returns(simulated: tuple[NDArray[np.float64], NDArray[np.int64]]) -> NDArray[np.float64]:
    """Daily log returns of every stock, `[T, stocks]`."""
    return simulated[0].reshape(BARS, -1)


def autocorrelation(series: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """Of each column."""
    centred = series - series.mean(axis=0)
    return np.asarray((centred[lag:] * centred[:-lag]).mean(axis=0) / (centred * centred).mean(axis=0))


def test_tails_are_fat(returns: NDArray[np.float64]) -> None:
    """Excess kurtosis is above 3, and the Hill index of the largest 5% of moves lies between 2 and 5."""
    assert np.median(stats.kurtosis(returns)) > 3
    ordered = np.sort(np.abs(returns), axis=0)[::-1]
    count = BARS // 20
    hill = 1 / np.log(ordered[:count] / ordered[count]).mean(axis=0)
    assert 2 < np.median(hill) < 5


def test_returns_are_hardly_autocorrelated(returns: NDArray[np.float64]) -> None:
    """The first autocorrelation of returns is below 0.1 in size: drifts persist, but hide in the noise."""
    assert abs(np.median(autocorrelation(returns, 1))) < 0.1


def test_volatility_clusters_and_forgets_slowly(returns: NDArray[np.float64]) -> None:
    """Autocorrelations of absolute returns, near and at lag 100, and their power-law decay, lie in the gates."""
    moves = np.abs(returns)
    lags = np.arange(1, 101)
    curve = np.array([autocorrelation(moves, int(lag)) for lag in lags])
    assert np.median(curve[0]) > 0.1
    assert np.median(curve[:20].mean(axis=0)) > 0.08
    assert np.median(curve[-1]) > 0.02
    exponents = -np.polyfit(np.log(lags), np.log(np.maximum(curve, 1e-3)), 1)[0]
    assert 0.1 < np.median(exponents) < 0.5


def test_falls_raise_volatility(returns: NDArray[np.float64]) -> None:
    """The leverage effect: a return correlates negatively with squared returns of the ten days after it."""
    squared = returns * returns
    effect = [
        [np.corrcoef(returns[:-lag, stock], squared[lag:, stock])[0, 1] for stock in range(returns.shape[1])]
        for lag in range(1, 11)
    ]
    assert -0.1 < np.median(np.mean(effect, axis=0)) < 0


def test_sums_of_returns_are_closer_to_normal(returns: NDArray[np.float64]) -> None:
    """Excess kurtosis of 20-day returns is below that of daily ones."""
    monthly = returns.reshape(-1, 20, returns.shape[1]).sum(axis=1)
    assert np.median(stats.kurtosis(monthly)) < np.median(stats.kurtosis(returns))


def test_stocks_fall_together_in_a_crisis(simulated: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    """The median correlation of two stocks is at least 0.2 higher in a crisis than in calm, and about 0.3 overall."""
    returns, regimes = simulated
    pairs = np.triu_indices(ASSETS, 1)

    def correlation(regime: str | None) -> float:
        found = []
        for world in range(WORLDS):
            days = np.ones(BARS, np.bool_) if regime is None else regimes[:, world] == REGIMES.index(regime)
            if days.sum() > 100:
                found.append(np.corrcoef(returns[days, world].T)[pairs])
        return float(np.median(found))

    assert correlation("crisis") - correlation("calm") > 0.2
    assert 0.2 < correlation(None) < 0.5
