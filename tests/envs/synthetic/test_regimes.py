"""The table of regimes and how they follow one another."""

from __future__ import annotations

import numpy as np

from envs.synthetic.regimes import (
    REGIME_PARAMETERS,
    REGIMES,
    TRANSITIONS,
    MarketRegime,
    long_run_shares,
    regime_column,
)


def test_every_regime_but_switching_has_parameters() -> None:
    """`REGIMES`, the table of parameters and the enumeration name the same states."""
    assert set(REGIMES) == set(REGIME_PARAMETERS) == set(MarketRegime) - {MarketRegime.SWITCHING}


def test_transitions_are_a_chain_of_spells() -> None:
    """Rows are probabilities, and no spell is followed by its own regime."""
    np.testing.assert_allclose(TRANSITIONS.sum(axis=1), 1.0)
    assert (TRANSITIONS >= 0).all()
    assert (np.diag(TRANSITIONS) == 0).all()


def test_long_run_shares_agree_with_a_long_walk() -> None:
    """The shares solved for are those that a simulated sequence of spells spends in each regime."""
    rng = np.random.default_rng(1)
    spent, regime, durations = np.zeros(len(REGIMES)), 0, regime_column("duration")
    for chance in rng.random(100_000):
        regime = int((chance >= TRANSITIONS[regime].cumsum()).sum())
        spent[regime] += durations[regime]
    np.testing.assert_allclose(spent / spent.sum(), long_run_shares(), atol=0.01)


def test_regimes_are_what_they_are_called() -> None:
    """A bull market rises, a bear market and a crisis fall, and volatility and correlation grow with stress."""
    drift, volatility = regime_column("drift"), regime_column("volatility")
    calm, bull, bear, volatile, crisis = range(5)
    assert drift[bull] > drift[calm] > drift[volatile] == 0 > drift[bear] > drift[crisis]
    assert volatility[calm] < volatility[bull] < volatility[bear] < volatility[volatile] < volatility[crisis]
    assert regime_column("correlation")[crisis] - regime_column("correlation")[calm] > 0.2
