"""The yardsticks of trading earn what theory says: cash nothing, the oracle something in every regime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from envs.base import AgentConfig, AgentRole, Observation
from envs.trading import DOMAIN, MarketRegime, TradingEnv, TradingTask
from policies.base import Policy
from policies.heuristics import baselines
from policies.heuristics.trading import BuyAndHold, Cash, EqualWeight, Momentum, RegimeOracle, nearest_levels
from policies.rollout import Episodes, play

BASELINES = baselines("trading")
STEPS = 100


def make(worlds: int = 1, **config: Any) -> TradingEnv:
    """Worlds of two agents on three assets, unless the config says otherwise."""
    env = DOMAIN.env({"num_agents": 2, "symbols": ("A", "B", "C"), **config}, worlds)
    assert isinstance(env, TradingEnv)
    return env


def played(policy: Policy, worlds: int, config: dict[str, Any] | None = None, **task: Any) -> Episodes:
    """One episode a world."""
    return play(make(worlds, **(config or {})), policy, TradingTask(**{"max_steps": STEPS, **task}), seed=4)


def significance(returns: NDArray[np.float64]) -> float:
    """Mean over its standard error; 0 where nothing varies around 0."""
    error = returns.std(ddof=1) / len(returns) ** 0.5
    return (
        float(returns.mean() / error) if error > 0 else float(np.sign(returns.mean()) * np.inf if returns.any() else 0)
    )


def actions_of(policy: Policy, env: TradingEnv, observation: Observation) -> NDArray[Any]:
    """Actions of the first group."""
    actions, _ = policy.act(observation, None, deterministic=True, rng=np.random.default_rng(0))
    return actions[next(iter(env.groups))]


def test_the_yardsticks_of_the_domain() -> None:
    """Cash is the naive policy, the regime oracle the informed one, and each entry makes a policy of its own name."""
    assert (BASELINES.naive, BASELINES.informed) == ("cash", "oracle")
    assert set(BASELINES.policies) == {"cash", "random", "buy_and_hold", "equal_weight", "momentum", "oracle"}
    for name, policy in BASELINES.policies.items():
        assert policy().name == name


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("regime", [MarketRegime.CRISIS, MarketRegime.SWITCHING])
def test_cash_earns_exactly_nothing(mode: str, regime: MarketRegime) -> None:
    """Holding cash gives a return of 0 to the bit, pays no costs, and keeps the balance."""
    episodes = played(Cash(), 8, {"action_mode": mode}, market_regime=regime)
    assert (episodes.returns == 0).all()
    assert (episodes.metrics["profit"] == 0).all()
    assert (episodes.metrics["cost_fee"] == 0).all()


@pytest.mark.parametrize("regime", list(MarketRegime))
def test_the_oracle_beats_cash_in_every_regime(regime: MarketRegime) -> None:
    """Knowing the drifts pays, after all costs and with risk counted, by at least four standard errors."""
    assert significance(played(RegimeOracle(), 32, market_regime=regime).returns) > 4


@pytest.mark.parametrize(
    "config",
    [
        {"action_mode": "discrete"},
        {"action_mode": "discrete", "levels": 9, "max_leverage": 2.0},
        {"max_leverage": 2.0},
        {"num_agents": 40},
    ],
)
def test_the_oracle_pays_in_any_house(config: dict[str, Any]) -> None:
    """Discrete levels, leverage, and forty agents who all want the same do not ruin it."""
    assert significance(played(RegimeOracle(), 32, config, market_regime=MarketRegime.VOLATILE).returns) > 4


def test_the_oracle_knows_more_than_any_other_yardstick() -> None:
    """On a switching market it earns significantly more than every other baseline in the same worlds."""
    returns = {
        name: played(policy(), 64, market_regime=MarketRegime.SWITCHING).returns
        for name, policy in BASELINES.policies.items()
    }
    for name in set(returns) - {"oracle"}:
        assert significance(returns["oracle"] - returns[name]) > 3, name


@pytest.mark.parametrize("name", BASELINES.policies)
def test_without_drift_nobody_beats_cash(name: str) -> None:
    """On martingales no baseline earns significantly, in mean return or in mean profit."""
    episodes = played(BASELINES.policies[name](), 96, drift_scale=0.0)
    assert significance(episodes.returns) < 2.6
    assert significance(episodes.metrics["profit"]) < 2.6


def test_without_drift_or_at_prohibitive_costs_the_oracle_stays_out() -> None:
    """There is nothing to know, or knowing does not pay: it never trades."""
    assert (played(RegimeOracle(), 8, drift_scale=0.0).returns == 0).all()
    assert (played(RegimeOracle(), 8, transaction_cost=0.4).metrics["turnover"] == 0).all()


def test_the_oracle_sells_what_falls_and_buys_what_rises() -> None:
    """Its position in a fresh bull market is net long, in a bear market net short; and flat if it may not be short."""
    for regime, sign in ((MarketRegime.BULL, 1), (MarketRegime.CRISIS, -1)):
        task = TradingTask(market_regime=regime, drift_scale=3.0)
        for allow_short in (True, False):
            env, policy = make(32, allow_short=allow_short), RegimeOracle()
            env.set_tasks(task)
            policy.bind(env)
            wanted = actions_of(policy, env, env.reset(1))
            assert allow_short or (wanted >= 0).all()
            total = wanted.sum(axis=2).mean()
            assert total > 0.5 if sign > 0 else (total < -0.5 if allow_short else total < 0.2)


def test_the_oracle_on_real_prices_is_hindsight() -> None:
    """With the next 60 days' mean in hand, real prices are easy."""
    config = {"data": "real", "symbols": ("AAPL", "GOOG", "IBM", "MSFT")}
    assert significance(played(RegimeOracle(), 32, config).returns) > 4


def test_buy_and_hold_trades_once() -> None:
    """It buys 95% of its equity at the first open and then holds those shares."""
    env, policy = make(16), BuyAndHold()
    env.set_tasks(TradingTask(max_steps=STEPS, market_regime=MarketRegime.CALM, num_assets=2))
    policy.bind(env)
    observation = env.reset(3)
    group = next(iter(env.groups))
    shares, traded = [], []
    for _ in range(STEPS - 1):
        observation = env.step({group: actions_of(policy, env, observation)}).observation
        shares.append(env.positions[group].copy())
        traded.append(env.accounts.traded / env.accounts.equity)
    np.testing.assert_allclose(traded[0], 0.95, atol=0.05)
    assert np.max(traded[1:]) < 1e-6  # what float32 actions cannot resolve
    np.testing.assert_allclose(shares[-1], shares[0], rtol=1e-5)
    assert (shares[0][:, :, :2] > 0).all()
    assert (shares[0][:, :, 2] == 0).all()


def test_buy_and_hold_earns_the_market_less_one_purchase() -> None:
    """Profit is 95% of the mean price gain since the fill, less fee and spread."""
    env, policy = make(8, num_agents=1), BuyAndHold()
    env.set_tasks(TradingTask(max_steps=STEPS, square_root_impact=0.0, market_impact_factor=0.0, borrow_fee=0.0))
    policy.bind(env)
    observation = env.reset(6)
    group = next(iter(env.groups))
    before = env.prices.copy()
    for _ in range(STEPS - 1):
        observation = env.step({group: actions_of(policy, env, observation)}).observation
    gain = 0.95 * (env.prices / before - 1).mean(axis=1)
    profit = env.equity[group][:, 0] / 100_000 - 1
    # From close to the first open prices moved with nobody invested: the rest of the difference.
    np.testing.assert_allclose(profit, gain, atol=0.03)


def test_equal_weight_holds_equal_shares_of_equity() -> None:
    """After every fill each asset in play is worth 1/N of equity, but for the day's move."""
    env, policy = make(8), EqualWeight()
    env.set_tasks(TradingTask(max_steps=STEPS, market_regime=MarketRegime.CALM, volatility_scale=0.1, num_assets=2))
    policy.bind(env)
    observation = env.reset(3)
    group = next(iter(env.groups))
    for _ in range(20):
        observation = env.step({group: actions_of(policy, env, observation)}).observation
        weights = env.positions[group] * env.prices[:, None] / env.equity[group][:, :, None]
        np.testing.assert_allclose(weights[:, :, :2], 0.5, atol=0.01)
        assert (weights[:, :, 2] == 0).all()


@pytest.mark.parametrize("policy", [BuyAndHold, EqualWeight, Momentum])
def test_only_the_oracle_borrows(policy: type[Policy]) -> None:
    """Where leverage is allowed, the classics still invest no more than their equity."""
    env, chosen = make(16, max_leverage=4.0, maintenance_margin=0.1), policy()
    env.set_tasks(TradingTask(max_steps=STEPS, drift_scale=3.0))
    chosen.bind(env)
    observation = env.reset(3)
    group = next(iter(env.groups))
    for _ in range(30):
        actions = actions_of(chosen, env, observation)
        assert (np.abs(actions).sum(axis=2) * 4.0 < 1.01).all()
        observation = env.step({group: actions}).observation


def test_momentum_follows_trends_it_can_see() -> None:
    """Asked about made-up trends, it buys what rose, sells what fell, leaves the rest, and respects a ban on shorts."""
    for allow_short in (True, False):
        env, policy = make(allow_short=allow_short), Momentum()
        policy.bind(env)
        observation = env.reset(0)
        group = next(iter(env.groups.values()))
        table = group.layout.entities_of(observation.observations[group.name])
        table[...] = 0.0
        names = group.layout.entity_features
        for feature in ("momentum_20", "momentum_60"):
            table[:, :, :, names.index(feature)] = [2.0, -2.0, 0.0]
        wanted = actions_of(policy, env, observation)
        assert (wanted[:, :, 0] > 0.2).all()
        assert (wanted[:, :, 1] < -0.2).all() if allow_short else (wanted[:, :, 1] == 0).all()
        assert (wanted[:, :, 2] == 0).all()


def test_momentum_earns_where_trends_are_strong() -> None:
    """Where drifts are strong for the noise, a rule that only sees indicators beats cash: it can be learned."""
    episodes = played(Momentum(), 48, market_regime=MarketRegime.VOLATILE, drift_scale=2.0)
    assert significance(episodes.returns) > 4


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("name", BASELINES.policies)
def test_actions_are_legal_and_respect_masks(mode: str, name: str) -> None:
    """For two roles, absent assets and no shorts, every action taken is one that the mask allows."""
    agents = tuple(
        AgentConfig(agent_id=f"agent_{n}", role=AgentRole.EXECUTOR if n else AgentRole.HEDGER) for n in range(3)
    )
    env = make(4, agent_configs=agents, action_mode=mode, allow_short=False)
    policy = BASELINES.policies[name]()
    env.set_tasks(TradingTask(max_steps=30, num_assets=2))
    policy.bind(env)
    observation, rng = env.reset(2), np.random.default_rng(0)
    for _ in range(40):
        actions, _ = policy.act(observation, None, deterministic=True, rng=rng)
        for group, taken in actions.items():
            mask = observation.action_masks[group]
            if mode == "discrete":
                allowed = mask.reshape(*taken.shape, -1)
                assert np.take_along_axis(allowed, taken[..., None], axis=3).all()
            else:
                assert (taken[~mask] == 0).all()
        observation = env.step(actions).observation


def test_a_world_in_a_batch_is_treated_as_alone() -> None:
    """The oracle does the same in a world whatever the worlds beside it."""
    together = played(RegimeOracle(), 5, market_regime=MarketRegime.SWITCHING)
    alone = played(RegimeOracle(), 1, market_regime=MarketRegime.SWITCHING)
    np.testing.assert_allclose(together.returns[0], alone.returns[0], rtol=1e-6)


def test_levels_that_are_exact() -> None:
    """Cash, all of one asset, halves and equal weights have exact levels: the env scales sums above 1 down."""
    targets = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, -0.5, 0.5, 0], [0.25] * 4, [-0.25] * 4, [1 / 3, -2 / 3, 0, 0]])
    levels = nearest_levels(targets, 5) - 2
    half = levels / 2
    np.testing.assert_allclose(half / np.maximum(np.abs(half).sum(axis=1, keepdims=True), 1), targets)
    np.testing.assert_array_equal(levels[0], 0)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (4, 3), elements=st.floats(-1, 1)), st.sampled_from([3, 5, 9]))
def test_nearest_levels_beat_plain_rounding(targets: NDArray[np.float64], levels: int) -> None:
    """The effect of the chosen levels is at least as close to the target as that of rounding each asset."""
    targets = targets / np.maximum(np.abs(targets).sum(axis=1, keepdims=True), 1.0)
    half = levels // 2

    def error(chosen: NDArray[Any]) -> NDArray[np.float64]:
        values = (chosen - half) / half
        effect = values / np.maximum(np.abs(values).sum(axis=1, keepdims=True), 1.0)
        return np.asarray(((effect - targets) ** 2).sum(axis=1))

    chosen = nearest_levels(targets, levels)
    assert ((chosen >= 0) & (chosen < levels)).all()
    assert (error(chosen) <= error(np.rint(targets * half) + half) + 1e-12).all()
