"""What a step does: when orders fill, what is paid, what is rewarded, and that the books balance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.base import AgentConfig, AgentRole
from envs.trading import MarketRegime, TradingConfig, TradingEnv, TradingTask
from envs.trading.accounts import BORROW, COSTS, FEE, IMPACT, LOAN
from envs.trading.indicators import LOOKBACK

GROUP = AgentRole.EXECUTOR.value


def make(num_worlds: int = 2, task: dict[str, Any] | None = None, **config: Any) -> TradingEnv:
    """An env that has been reset."""
    env = TradingEnv(TradingConfig(**config), num_worlds, task=TradingTask(**(task or {})))
    env.reset(0)
    return env


def constant(env: TradingEnv, *weights: float) -> dict[str, np.ndarray]:
    """The same continuous action for everybody."""
    group = env.groups[GROUP]
    return {GROUP: np.broadcast_to(np.float32(weights), (env.num_worlds, group.size, group.num_actions)).copy()}


def random_actions(env: TradingEnv, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Uniform continuous actions."""
    shape = (env.num_worlds, -1, len(env.config.symbols))
    return {
        name: rng.uniform(-1, 1, (shape[0], group.size, shape[2])).astype(np.float32)
        for name, group in env.groups.items()
    }


def prices_file(folder: Path, opened: np.ndarray, close: np.ndarray, volume: float = 1e9) -> str:
    """A CSV of one symbol, ONE, whose first trading day (after warm-up) is the first given; quiet before it."""
    before = 100.0 + 0.1 * (np.arange(LOOKBACK) % 2)
    opened, close = np.append(before, opened), np.append(before, close)
    days = np.datetime64("2020-01-01") + np.arange(len(close))
    rows = [f"{day},{o},{max(o, c)},{min(o, c)},{c},{volume}" for day, o, c in zip(days, opened, close, strict=True)]
    file = folder / "ONE.csv"
    file.write_text("\n".join(["date,open,high,low,close,volume", *rows]))
    return str(file)


def one_stock(folder: Path, opened: list[float], close: list[float], task: dict[str, Any], **config: Any) -> TradingEnv:
    """One agent and one stock with the given prices; the mid is not moved, and only what the task names is paid."""
    free = {
        "transaction_cost": 0.0,
        "half_spread": 0.0,
        "square_root_impact": 0.0,
        "market_impact_factor": 0.0,
        "transient_impact_factor": 0.0,
        "loan_rate": 0.0,
        "borrow_fee": 0.0,
        "risk_weight": 0.0,
    }
    data = prices_file(folder, np.array(opened), np.array(close))
    config = {"num_agents": 1, "symbols": ("ONE",), "data": data, **config}
    return make(1, {**free, "max_steps": len(close), **task}, **config)


def test_decide_at_close_fill_at_open_mark_at_close(tmp_path: Path) -> None:
    """An order is sized at the last close, filled at the next open and valued at the next close; growth is rewarded."""
    env = one_stock(tmp_path, [110.0, 90.0], [121.0, 100.0], {})
    decided = env.prices[0, 0]
    step = env.step(constant(env, 0.5))
    shares = 50_000.0 / decided
    np.testing.assert_allclose(env.positions[GROUP], shares, rtol=1e-12)
    equity = 100_000.0 + shares * (121.0 - 110.0)
    np.testing.assert_allclose(env.accounts.cash, 100_000.0 - shares * 110.0, rtol=1e-12)
    np.testing.assert_allclose(env.equity[GROUP], equity, rtol=1e-12)
    np.testing.assert_allclose(step.rewards[GROUP], 100 * np.log(equity / 1e5), rtol=1e-5)


def test_reward_weighs_profit_risk_and_turnover(tmp_path: Path) -> None:
    """Each weight multiplies its own term: log growth, variance of what is held, value traded over equity."""
    weights = {"profit_weight": 2.0, "risk_weight": 3.0, "turnover_weight": 0.5}
    env = one_stock(tmp_path, [110.0, 90.0], [121.0, 100.0], weights)
    sigma, decided = env.indicators.volatility[0, 0], env.prices[0, 0]
    reward = env.step(constant(env, -0.5)).rewards[GROUP][0, 0]
    shares = 50_000.0 / decided
    growth = np.log1p(-shares * 11.0 / 1e5)
    variance = (shares * 121.0 / 1e5 * sigma) ** 2
    np.testing.assert_allclose(reward, 100 * (2 * growth - 3 * variance - 0.5 * shares * 110.0 / 1e5), rtol=1e-5)


def test_variance_has_a_common_correlation() -> None:
    """With two assets the risk term is w' S w, where S has the assets' variances and correlation 0.3."""
    quiet = {"profit_weight": 0.0, "risk_weight": 1.0, "num_assets": 2}
    env = make(1, quiet, num_agents=1)
    sigma = env.indicators.volatility[0, :2]
    reward = env.step(constant(env, 0.6, -0.4, 0.0, 0.0)).rewards[GROUP][0, 0]
    held = env.positions[GROUP][0, 0, :2] * env.prices[0, :2] / 1e5
    covariance = np.outer(sigma, sigma) * np.array([[1.0, 0.3], [0.3, 1.0]])
    np.testing.assert_allclose(reward, -100 * held @ covariance @ held, rtol=1e-5)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("leverage", [1.0, 3.0])
def test_cash_earns_exactly_nothing(mode: str, leverage: float) -> None:
    """Who never trades has rewards of exactly zero and keeps the balance, whatever the others do."""
    env = make(3, {"market_regime": "crisis"}, num_agents=3, action_mode=mode, max_leverage=leverage)
    rng = np.random.default_rng(0)
    for _ in range(40):
        if mode == "continuous":
            actions = rng.uniform(-1, 1, (3, 3, 4)).astype(np.float32)
            actions[:, 0] = 0.0
        else:
            actions = rng.integers(0, 5, (3, 3, 4))
            actions[:, 0] = 2
        step = env.step({GROUP: actions})
        np.testing.assert_array_equal(step.rewards[GROUP][:, 0], 0.0)
        np.testing.assert_array_equal(env.equity[GROUP][:, 0], 100_000.0)


def test_one_trade_is_booked_in_closed_form() -> None:
    """Fee, spread and impact of a lone agent's first order are the formulas; equity is what they leave."""
    task = {
        "transaction_cost": 0.002,
        "half_spread": 0.001,
        "num_assets": 1,
        "market_impact_factor": 2e-4,
        "transient_impact_factor": 5e-4,
        "square_root_impact": 0.8,
        "daily_value": 1e7,
    }
    env = make(1, task, num_agents=1)
    sigma, adv, decided = env.indicators.volatility[0, 0], env.market.adv[0, 0], env.prices[0, 0]
    twin = make(1, task, num_agents=1)
    bars = twin.market.next()  # the bar that will come
    opened, close = bars.open[0, 0], bars.close[0, 0]
    env.step(constant(env, 1.0, 0.0, 0.0, 0.0))

    shares = 100_000.0 / decided
    share_of_volume = shares / adv
    moved = opened * np.exp((2e-4 + 5e-4) * 100 * share_of_volume)
    price = moved * (1 + 0.8 * sigma * share_of_volume**0.5)
    half = moved * 0.001 * max(1.0, sigma / 0.0125)
    fee = 0.002 * shares * (price + half)
    costs = env.accounts.costs[:, 0, 0]
    np.testing.assert_allclose(costs[:3], [fee, shares * half, shares * (price - opened)], rtol=1e-9)
    cash = 100_000.0 - shares * (price + half) - fee
    loan = max(-cash, 0.0) * 0.03 / 252
    np.testing.assert_allclose(costs[3:], [0.0, loan], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(env.equity[GROUP], cash - loan + shares * close * moved / opened, rtol=1e-12)


books = st.fixed_dictionaries(
    {
        "market_regime": st.sampled_from(list(MarketRegime)),
        "transaction_cost": st.sampled_from([0.0, 0.001, 0.02]),
        "half_spread": st.sampled_from([0.0, 0.0005]),
        "market_impact_factor": st.sampled_from([0.0, 1e-4, 1e-3]),
        "daily_value": st.sampled_from([3e5, 5e7]),
        "borrow_fee": st.sampled_from([0.0, 0.3]),
        "volatility_scale": st.sampled_from([1.0, 5.0]),
    }
)


@settings(max_examples=30, deadline=None)
@given(
    task=books,
    agents=st.sampled_from([1, 2, 7]),
    leverage=st.sampled_from([0.5, 1.0, 3.5]),
    seed=st.integers(0, 1000),
    short=st.booleans(),
    lot=st.sampled_from([0.0, 1.0]),
)
def test_the_books_balance(
    task: dict[str, Any], agents: int, leverage: float, seed: int, short: bool, lot: float
) -> None:
    """Over any random episode, cash plus positions changes by price moves and the costs booked, and by nothing else.

    At the mids at which orders met, cash plus shares falls by exactly fees, spread and impact. Over the whole bar,
    equity changes by what shares gained from close to open (the old ones) and from open to close (the new ones), less
    the costs of all kinds. Liquidations and bankruptcies included, to float64's precision.
    """
    config = TradingConfig(num_agents=agents, max_leverage=leverage, allow_short=short, lot_size=lot)
    env = TradingEnv(config, 2, task=TradingTask(max_steps=21, **task))
    env.reset(seed)
    rng = np.random.default_rng(seed)
    seen: list[np.ndarray] = []
    fill = env.exchange.fill

    def watched(*args: Any) -> Any:
        fills = fill(*args)
        seen[:] = fills.reference.T.copy(), fills.shares.transpose(1, 2, 0).copy(), fills.price.T.copy()
        return fills

    env.exchange.fill = watched  # type: ignore[method-assign]
    for _ in range(20):
        shares, prices = env.positions[GROUP].copy(), env.prices.copy()
        equity = env.equity[GROUP].copy()
        actions = np.sign(rng.uniform(-1, 1, (2, agents, 4))) * rng.random((2, agents, 4)) ** 0.3
        step = env.step({GROUP: actions.astype(np.float32)})
        if step.final is not None:  # everybody bankrupt: the accounts have been opened anew
            break
        reference, bought, price = seen
        costs = env.accounts.costs
        scale = 1e-12 * (1e5 + np.abs(equity) + 5 * env.accounts.gross + costs[FEE] * 1000)

        kept = (shares + bought).transpose(0, 2, 1)
        gains = (shares * (reference - prices)[:, None]).sum(axis=2)
        gains += (kept.transpose(0, 2, 1) * (env.prices - reference)[:, None]).sum(axis=2)
        error = env.equity[GROUP] - equity - gains + costs.sum(axis=0)
        assert (np.abs(error) <= scale + 1e-12 * np.abs(gains)).all()

        alive = env.alive[GROUP] & ~step.terminated[GROUP]
        still = np.where(alive[:, :, None], shares + bought, 0.0)
        np.testing.assert_array_equal(env.positions[GROUP][alive], still[alive])
        net = bought.sum(axis=1)  # the agents' impact costs add up to that of their net flow
        np.testing.assert_allclose(
            costs[IMPACT].sum(axis=1), (net * (price - reference)).sum(axis=1), rtol=1e-9, atol=1e-7
        )
        assert (costs[IMPACT].sum(axis=1) >= -1e-9).all()
        assert (np.delete(costs, IMPACT, axis=0) >= 0).all()
        fees = env.terms.transaction_cost * env.accounts.traded.sum(axis=1)
        np.testing.assert_allclose(costs[FEE].sum(axis=1), fees, rtol=1e-12)


def test_metrics_add_up() -> None:
    """Profit, drawdown, turnover and costs of an episode equal what the bars showed."""
    env = make(2, {"max_steps": 15}, num_agents=3)
    rng = np.random.default_rng(0)
    equities, costs, turnover = [env.equity[GROUP].copy()], np.zeros((len(COSTS), 2, 3)), np.zeros((2, 3))
    for t in range(15):
        before = env.equity[GROUP].copy()
        taken = random_actions(env, rng)
        if t == 14:
            twin = TradingEnv(env.config, 2, task=TradingTask(max_steps=99))
            twin.set_state(env.get_state())
            twin._ledger.limits[:] = 99  # the same last bar, without the restart that follows it
            twin.step(taken)
            last = twin
        step = env.step(taken)
        source = last if t == 14 else env
        equities.append(source.equity[GROUP].copy())
        costs += source.accounts.costs
        turnover += source.accounts.traded / before
    assert step.final is not None
    metrics = step.final.metrics
    path = np.array(equities)
    returns = np.diff(np.log(path), axis=0)
    drawdown = (1 - path / np.maximum.accumulate(path, axis=0)).max(axis=0)
    np.testing.assert_allclose(metrics["profit"], (path[-1] / 1e5 - 1).mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(metrics["max_drawdown"], drawdown.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(
        metrics["sharpe"], (returns.mean(axis=0) / returns.std(axis=0) * 252**0.5).mean(axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(metrics["turnover"], (turnover / 15).mean(axis=1), rtol=1e-9)
    for kind, name in enumerate(COSTS):
        np.testing.assert_allclose(metrics[f"cost_{name}"], costs[kind].mean(axis=1) / 1e5, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(metrics["bankrupt"], 0.0)


def test_discrete_levels_are_continuous_values() -> None:
    """The branches' levels, and the values they stand for, give the same worlds to the bit."""
    discrete, continuous = make(action_mode="discrete", levels=5), make()
    rng = np.random.default_rng(0)
    for _ in range(30):
        levels = rng.integers(0, 5, (2, 4, 4))
        first = discrete.step({GROUP: levels})
        second = continuous.step({GROUP: (levels * 0.5 - 1.0).astype(np.float32)})
        np.testing.assert_array_equal(first.rewards[GROUP], second.rewards[GROUP])
        np.testing.assert_array_equal(first.observation.observations[GROUP], second.observation.observations[GROUP])


def test_targets_are_scaled_to_the_leverage() -> None:
    """Actions whose sizes add up to more than 1 are scaled down to full leverage; smaller ones are taken as given."""
    for action, weights in [
        ((1.0, -1.0, 0.5, 0.0), (0.8, -0.8, 0.4, 0.0)),
        ((0.1, -0.2, 0.0, 0.3), (0.2, -0.4, 0, 0.6)),
    ]:
        env = make(1, num_agents=1, max_leverage=2.0)
        prices = env.prices[0].copy()
        env.step(constant(env, *action))
        np.testing.assert_allclose(env.positions[GROUP][0, 0] * prices / 1e5, weights, rtol=1e-6, atol=1e-12)


def test_absent_assets_and_forbidden_shorts_are_not_traded() -> None:
    """Positions in assets out of play stay zero, and none is negative where shorts are not allowed."""
    env = make(2, {"num_assets": 2}, allow_short=False)
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.step(random_actions(env, rng))
        assert (env.positions[GROUP] >= -1e-9).all()
        np.testing.assert_array_equal(env.positions[GROUP][:, :, 2:], 0.0)
    assert env.positions[GROUP][:, :, :2].any()


def test_masks_allow_what_the_task_allows() -> None:
    """Absent assets leave level 0 only; without shorts negative levels are masked; continuous masks follow assets."""
    env = make(1, {"num_assets": 3}, action_mode="discrete", levels=3, allow_short=False, num_agents=1)
    mask = env.observe().action_masks[GROUP].reshape(4, 3)
    np.testing.assert_array_equal(mask, [[0, 1, 1]] * 3 + [[0, 1, 0]])
    continuous = make(1, {"num_assets": 3}, num_agents=1).observe().action_masks[GROUP]
    np.testing.assert_array_equal(continuous[0, 0], [1, 1, 1, 0])


def test_a_margin_call_closes_everything_at_the_next_open(tmp_path: Path) -> None:
    """At 3 x leverage a fall of 25% breaches the margin; the broker sells at the next open, whatever the agent says."""
    env = one_stock(tmp_path, [100.0, 80.0, 80.0], [75.0, 90.0, 90.0], {}, max_leverage=3.0)
    env.step(constant(env, 1.0))
    assert env.accounts.called.all()
    assert env.observe().observations[GROUP][0, 0, 7] == 1.0
    shares = env.positions[GROUP][0, 0, 0]
    cash = env.accounts.cash[0, 0]
    env.step(constant(env, 1.0))
    assert not env.positions[GROUP].any()
    np.testing.assert_allclose(env.equity[GROUP], cash + shares * 80.0, rtol=1e-12)
    assert not env.accounts.called.any()
    step = env.step(constant(env, 0.0))
    assert step.final is not None
    np.testing.assert_array_equal(step.final.metrics["liquidations"], 1.0)


def test_bankruptcy_ends_an_agents_future_and_creates_no_money(tmp_path: Path) -> None:
    """A gap through the margin terminates the agent; its loss is the market's, its reward is bounded by the floor."""
    env = one_stock(tmp_path, [100.0, 50.0], [60.0, 500.0], {"transaction_cost": 0.001}, max_leverage=3.0)
    before = env.prices[0, 0]
    step = env.step(constant(env, 1.0))
    assert step.terminated[GROUP].all()
    assert step.final is not None
    loss = 300_000.0 / before * (100.0 - 60.0)
    fees = 0.001 * 300_000.0 / before * (100.0 + 60.0)
    np.testing.assert_allclose(step.final.metrics["profit"] * 1e5, -loss - fees, rtol=1e-9)
    np.testing.assert_array_equal(step.final.metrics["bankrupt"], 1.0)
    np.testing.assert_allclose(step.rewards[GROUP], 100 * np.log(0.05), rtol=1e-6)


def test_no_agent_outgrows_its_market() -> None:
    """Together, agents never trade more than their share of a bar's volume; what is not filled is seen."""
    env = make(1, {"daily_value": 1e5, "max_participation": 0.05})
    rng = np.random.default_rng(0)
    layout, twin = env.groups[GROUP].layout, make(1, {"daily_value": 1e5, "max_participation": 0.05})
    for _ in range(10):
        volume = twin.market.next().volume[0]
        before = env.positions[GROUP].copy()
        seen = env.step(random_actions(env, rng)).observation.observations[GROUP]
        traded = np.abs(env.positions[GROUP] - before).sum(axis=1)[0]
        unfilled = layout.feature_of(seen, "unfilled")[0, 0]
        np.testing.assert_allclose(traded[unfilled > 0], 0.05 * volume[unfilled > 0], rtol=1e-9)
        assert (traded <= 0.05 * volume * (1 + 1e-12)).all()
        assert (unfilled > 0).any()


def test_a_leak_shows_the_return_from_fill_to_close() -> None:
    """The leaked column times volatility is the log return of the bar in which the order will fill, open to close."""
    task = {"leak_next_return": True, "market_impact_factor": 0.0, "transient_impact_factor": 0.0}
    env = make(3, task, allow_leak=True)
    plain = make(3, {k: v for k, v in task.items() if k != "leak_next_return"}, allow_leak=True)
    layout = env.groups[GROUP].layout
    np.testing.assert_array_equal(layout.feature_of(plain.observe().observations[GROUP], "leaked_return"), 0.0)
    for _ in range(20):
        seen = layout.feature_of(env.observe().observations[GROUP], "leaked_return")[:, 0]
        leaked = seen * env.indicators.volatility
        bars = plain.market.next()
        env.step(constant(env, 0.0, 0.0, 0.0, 0.0))
        shown = np.abs(seen) < 9.9
        np.testing.assert_allclose(leaked[shown], np.log(bars.close / bars.open)[shown], rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(env.prices, bars.close)  # leaking does not change the prices


def test_a_leak_makes_money() -> None:
    """Trading on the leaked return earns far more than its costs: there is something for a learner to find."""
    env = make(16, {"leak_next_return": True, "max_steps": 60}, allow_leak=True, num_agents=1)
    layout = env.groups[GROUP].layout
    total = np.zeros((16, 1))
    for _ in range(60):
        leaked = layout.feature_of(env.observe().observations[GROUP], "leaked_return")
        best = np.abs(leaked) == np.abs(leaked).max(axis=2, keepdims=True)
        total += env.step({GROUP: (np.sign(leaked) * best).astype(np.float32)}).rewards[GROUP]
    assert total.min() > 0
    assert total.mean() > 20


def test_without_drift_nobody_earns() -> None:
    """On martingales, momentum, reversal, long and short traders do not earn significantly, and lose with costs."""
    free = {
        "drift_scale": 0.0,
        "transaction_cost": 0.0,
        "half_spread": 0.0,
        "square_root_impact": 0.0,
        "market_impact_factor": 0.0,
        "transient_impact_factor": 0.0,
        "borrow_fee": 0.0,
        "loan_rate": 0.0,
        "max_steps": 60,
    }
    costly = {"drift_scale": 0.0, "max_steps": 60}
    profits = {}
    for name, task in (("free", free), ("costly", costly)):
        env = make(256, task, num_agents=4, max_leverage=1.0)
        layout = env.groups[GROUP].layout
        for _ in range(60):
            momentum = layout.feature_of(env.observe().observations[GROUP], "momentum_5")
            signs = np.array([1.0, -1.0, 0.0, 0.0])[None, :, None] * np.tanh(momentum)
            signs[:, 2], signs[:, 3] = 0.25, -0.25
            step = env.step({GROUP: signs.astype(np.float32)})
        assert step.final is not None
        profits[name] = step.final.metrics["profit"]
        # Each agent's own growth is E[equity] / initial: a martingale's stays 1.
    mean, error = profits["free"].mean(), profits["free"].std() / 16
    assert abs(mean) < 4 * error
    assert profits["costly"].mean() < -4 * profits["costly"].std() / 16


def test_impact_decays_from_bar_to_bar() -> None:
    """A bar after a lone purchase, what is left of the transient impact is its size times the decay of one bar."""
    env = make(1, {"impact_half_life": 2.0, "transient_impact_factor": 5e-4}, num_agents=1)
    env.step(constant(env, 1.0, 0.0, 0.0, 0.0))
    bought = env.positions[GROUP][0, 0, 0]
    displacement = 5e-4 * 100 * bought / env.market.adv[0, 0]
    np.testing.assert_allclose(env.exchange.transient[:, 0], [displacement * 0.5**0.5, 0, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(env.exchange.permanent[0, 0], displacement / 5, rtol=1e-12)


def test_a_new_episode_remembers_nothing() -> None:
    """After an episode with losses, impact and unfilled orders, the next one begins with cash, and a quiet market."""
    env = make(2, {"max_steps": 10, "daily_value": 1e5, "market_regime": "crisis"}, num_agents=3)
    rng = np.random.default_rng(0)
    for _ in range(10):
        step = env.step(random_actions(env, rng))
    assert step.final is not None
    layout, seen = env.groups[GROUP].layout, step.observation.observations[GROUP]
    np.testing.assert_array_equal(layout.own_of(seen), np.broadcast_to([1, 0, 0, 0, 1, 0, 1, 0], (2, 3, 8)))
    for name in ("weight", "displacement", "unfilled"):
        assert layout.feature_of(step.final.observation.observations[GROUP], name).any()
        assert not layout.feature_of(seen, name).any()
    for _ in range(10):  # the second episode's figures are its own: nobody traded in it
        step = env.step(constant(env, 0.0, 0.0, 0.0, 0.0))
    assert step.final is not None
    assert not any(values.any() for values in step.final.metrics.values())


def test_roles_are_groups_in_one_market() -> None:
    """Two roles trade side by side: their arrays keep the config's agents, and both flows move the same price."""
    configs = tuple(
        AgentConfig(agent_id=name, role=role, initial_balance=balance)
        for name, role, balance in [
            ("a", AgentRole.EXECUTOR, 1e5),
            ("b", AgentRole.HEDGER, 2e5),
            ("c", AgentRole.EXECUTOR, 3e5),
        ]
    )
    env = make(1, {"num_agents": 2}, agent_configs=configs, symbols=("ONE",))
    assert env.groups["executor"].agent_ids == ("a", "c")
    assert env.groups["hedger"].agent_ids == ("b",)
    np.testing.assert_array_equal(env.equity["executor"], [[1e5, 3e5]])
    np.testing.assert_array_equal(env.equity["hedger"], [[2e5]])
    np.testing.assert_array_equal(env.alive["executor"], [[True, False]])  # the task's first two agents are a and b
    np.testing.assert_array_equal(env.alive["hedger"], [[True]])
    env.step({"executor": np.full((1, 2, 1), -1, np.float32), "hedger": np.full((1, 1, 1), 0.5, np.float32)})
    assert env.positions["executor"][0, 0, 0] < 0 < env.positions["hedger"][0, 0, 0]
    np.testing.assert_allclose(env.positions["executor"][0, 0, 0], -env.positions["hedger"][0, 0, 0], rtol=1e-12)
    assert env.positions["executor"][0, 1, 0] == 0
    np.testing.assert_array_equal(env.exchange.displacement, 0.0)  # their orders cancelled


def test_worlds_may_play_different_tasks() -> None:
    """Each world pays its own task's costs, from its next episode on."""
    env = make(2, {"max_steps": 5})
    env.set_tasks([TradingTask(transaction_cost=0.0, max_steps=5), TradingTask(transaction_cost=0.01, max_steps=5)])
    rng = np.random.default_rng(0)
    for _ in range(7):
        env.step(random_actions(env, rng))
    assert not env.accounts.costs[FEE, 0].any()
    assert (env.accounts.costs[FEE, 1] > 0).all()


def test_short_sellers_pay_to_borrow() -> None:
    """The borrow fee a day is its yearly rate over 252 of the value sold short at the close."""
    env = make(1, {"borrow_fee": 0.2}, num_agents=1)
    env.step(constant(env, -0.5, 0.25, 0.0, 0.0))
    short = -env.positions[GROUP][0, 0, 0] * env.prices[0, 0]
    assert short > 0
    np.testing.assert_allclose(env.accounts.costs[BORROW, 0, 0], short * 0.2 / 252, rtol=1e-9)
    np.testing.assert_array_equal(env.accounts.costs[LOAN], 0.0)


@pytest.mark.parametrize("agents", [1, 128])
def test_many_agents(agents: int) -> None:
    """From one trader to more than a hundred, all act in one market and everything stays finite."""
    env = make(2, {"market_regime": "crisis", "volatility_scale": 5.0, "max_steps": 40}, num_agents=agents)
    rng = np.random.default_rng(0)
    for _ in range(45):
        step = env.step(random_actions(env, rng))
        for array in (step.observation.observations[GROUP], step.observation.state, step.rewards[GROUP]):
            assert np.isfinite(array).all()
