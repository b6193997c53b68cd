"""What traders see: names, values and sizes of the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.synthetic.regimes import REGIMES, MarketRegime
from envs.trading import TradingConfig, TradingEnv, TradingTask
from envs.trading.observations import LEAK, LIMIT, MARKET_FEATURES, OWN_FEATURES

GROUP = "executor"


def make(num_worlds: int = 3, task: dict[str, Any] | None = None, **config: Any) -> TradingEnv:
    """An env after twenty steps of random actions."""
    env = TradingEnv(TradingConfig(**config), num_worlds, task=TradingTask(**(task or {})))
    env.reset(0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = (num_worlds, env.groups[GROUP].size, len(env.config.symbols))
        env.step({GROUP: rng.uniform(-1, 1, shape).astype(np.float32)})
    return env


def test_layout_names_every_feature() -> None:
    """Own features, then a row an asset, then the mask; the leak's column only where the config allows it."""
    layout = TradingEnv(TradingConfig(symbols=("A", "B")), 1).groups[GROUP].layout
    assert layout.own == OWN_FEATURES
    assert layout.entity_features == ("weight", *MARKET_FEATURES)
    assert layout.entities == ("A", "B")
    assert layout.actions_per_entity == 1
    leaky = TradingEnv(TradingConfig(symbols=("A",), allow_leak=True), 1).groups[GROUP].layout
    assert leaky.entity_features[-1] == LEAK


def test_own_features_are_the_account() -> None:
    """Cash, exposures, headroom, wealth and time are those of the books."""
    env = make(max_leverage=2.0, task={"max_steps": 80})
    own = env.groups[GROUP].layout.own_of(env.observe().observations[GROUP])
    accounts, equity = env.accounts, env.equity[GROUP]
    values = env.positions[GROUP] * env.prices[:, None]
    gross = np.abs(values).sum(axis=2) / equity
    expected = {
        "cash": accounts.cash / equity,
        "gross": gross / 2,
        "net": values.sum(axis=2) / equity / 2,
        "margin_headroom": 1 - 0.25 * gross,
        "wealth": 5 * np.log(equity / 1e5),
        "time_left": np.full(equity.shape, 0.75),
        "margin_call": np.zeros(equity.shape),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(own[..., OWN_FEATURES.index(name)], value, rtol=1e-5, atol=1e-6, err_msg=name)
    drawdown = own[..., OWN_FEATURES.index("drawdown")]
    assert (drawdown >= 0).all()
    assert (drawdown > 0).any()


def test_asset_features_are_indicators_and_holdings() -> None:
    """Weights are each agent's own; market features are the same for all, scaled as documented."""
    env = make(task={"daily_value": 1e7})
    layout, seen, known = env.groups[GROUP].layout, env.observe().observations[GROUP], env.indicators
    sigma, close = known.volatility, env.prices
    np.testing.assert_allclose(
        layout.feature_of(seen, "weight"),
        env.positions[GROUP] * close[:, None] / env.equity[GROUP][..., None],
        rtol=1e-5,
        atol=1e-7,
    )
    expected = {
        "return": known.last_return / sigma,
        "momentum_20": known.momentum[1] / sigma / 20**0.5,
        "average_50": np.log(close / known.moving_averages[2]) / sigma / (50 / 3) ** 0.5,
        "macd": known.macd / close / sigma / 2,
        "macd_histogram": (known.macd - known.macd_signal) / close / sigma,
        "rsi": (known.rsi - 50) / 20,
        "bollinger": known.bollinger / 1.5,
        "atr": known.atr / close / 0.02,
        "volatility": np.log(sigma / 0.0125),
        "volume": 2 * np.log(known.relative_volume),
        "half_spread": 0.5 * np.maximum(sigma / 0.0125, 1),
        "displacement": 10_000 * env.exchange.transient.T,
    }
    for name, value in expected.items():
        feature = layout.feature_of(seen, name)
        np.testing.assert_array_equal(feature[:, 0], feature[:, -1])
        np.testing.assert_allclose(feature[:, 0], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert (layout.feature_of(seen, "displacement") != 0).all()


def test_absent_assets_and_agents_are_zero() -> None:
    """Rows of assets out of play are zero and masked; all of an absent agent's observation is zero."""
    env = make(task={"num_assets": 2, "num_agents": 3})
    layout, seen = env.groups[GROUP].layout, env.observe().observations[GROUP]
    np.testing.assert_array_equal(layout.mask_of(seen)[:, :3], np.broadcast_to([1, 1, 0, 0], (3, 3, 4)))
    assert not layout.entities_of(seen)[:, :, 2:].any()
    assert not seen[:, 3].any()
    assert seen[:, :3].any()


@pytest.mark.parametrize("regime", list(MarketRegime))
def test_features_are_of_order_one(regime: MarketRegime) -> None:
    """In every regime each feature's root mean square is below 4, and market features vary."""
    env = TradingEnv(TradingConfig(), 32, task=TradingTask(market_regime=regime, max_steps=40))
    env.reset(0)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(40):
        step = env.step({GROUP: rng.uniform(-1, 1, (32, 4, 4)).astype(np.float32)})
        rows.append(step.observation.observations[GROUP].copy())
    seen, layout = np.array(rows), env.groups[GROUP].layout
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() <= LIMIT
    size = np.sqrt((seen**2).mean(axis=(0, 1, 2)))
    assert size.max() < 4, layout.names[int(size.argmax())]
    for name in ("weight", *MARKET_FEATURES[:-1]):
        assert layout.feature_of(seen, name).std() > 0.02, name


def test_a_wild_market_is_cut_off() -> None:
    """Where a still price suddenly jumps, features stop at the limit."""
    env = make(task={"market_regime": "crisis", "volatility_scale": 5.0, "daily_value": 1e3})
    assert np.abs(env.observe().observations[GROUP]).max() <= LIMIT


def test_state_holds_the_truth_and_does_not_grow_with_agents() -> None:
    """The state's size is that of one agent's; it names the true regime and drift, and adds up positions."""
    small, large = make(num_agents=1), make(num_agents=20, task={"market_regime": "bear"})
    assert small.state_space == large.state_space
    state, layout, truth = large.observe().state, large.groups[GROUP].layout, large.market.truth
    assert state.shape == (3, *(large.state_space.shape or ()))
    seen = large.observe().observations[GROUP]
    parts = np.split(state, np.cumsum([8, 4 * len(layout.entity_features), 5, 4, 4, 4, 4]), axis=1)
    own, table, regime, drift, _, net, gross, exists = parts
    np.testing.assert_allclose(own, layout.own_of(seen).mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        table.reshape(3, 4, -1)[..., 1:], layout.entities_of(seen)[:, 0, :, 1:]
    )  # no agent's weight
    np.testing.assert_array_equal(regime.argmax(axis=1), REGIMES.index(MarketRegime.BEAR))
    np.testing.assert_allclose(drift, truth.drift * 252, rtol=1e-5)
    values = large.positions[GROUP] * large.prices[:, None]
    wealth = large.equity[GROUP].sum(axis=1)[:, None]
    np.testing.assert_allclose(net, values.sum(axis=1) / wealth, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gross, np.abs(values).sum(axis=1) / wealth, rtol=1e-5)
    np.testing.assert_array_equal(exists, 1.0)
