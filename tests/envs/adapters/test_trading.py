"""Tests of the trading env under the brief's name and with its arguments."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import ValidationError
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from envs.adapters.rllib import make_environment
from envs.adapters.trading import TradingEnvironment
from envs.base import AgentConfig, AgentRole
from envs.trading import MarketRegime, TradingEnv, TradingTask

ROOT = Path(__file__).resolve().parents[3]


def _task(env: TradingEnvironment) -> TradingTask:
    task = env.env.tasks[0]
    assert isinstance(task, TradingTask)
    return task


def test_the_briefs_arguments_reach_the_market() -> None:
    """Every argument of the brief's constructor ends in the config or the task it names."""
    agents = [AgentConfig(agent_id=f"trader_{i}", role=AgentRole.EXECUTOR, initial_balance=100_000) for i in range(3)]
    env = TradingEnvironment(
        agent_configs=agents,
        symbols=["AAPL", "GOOGL", "TSLA"],
        max_steps=17,
        market_regime=MarketRegime.CRISIS,
        transaction_cost=0.002,
        market_impact_factor=0.0003,
        use_synthetic_data=True,
    )
    assert isinstance(env, MultiAgentEnv)
    assert isinstance(env.env, TradingEnv)
    assert env.possible_agents == ["trader_0", "trader_1", "trader_2"]
    assert env.action_space == Box(-1, 1, (3,), np.float32)
    task = _task(env)
    assert (task.max_steps, task.market_regime) == (17, MarketRegime.CRISIS)
    assert (task.transaction_cost, task.market_impact_factor) == (0.002, 0.0003)


def test_defaults_are_the_briefs() -> None:
    """Without arguments: four traders, four stocks, 1000 steps, a volatile market, a tenth of a percent of costs."""
    env = TradingEnvironment()
    task = _task(env)
    assert len(env.possible_agents) == 4
    assert env.action_space.shape == (4,)
    assert (task.max_steps, task.market_regime) == (1000, MarketRegime.VOLATILE)
    assert (task.transaction_cost, task.market_impact_factor) == (0.001, 0.0001)


def test_rllib_passes_all_arguments_as_one_dictionary() -> None:
    """`env_config` means the same as keywords."""
    config = {
        "symbols": ["A", "B"],
        "max_steps": 9,
        "action_mode": "discrete",
        "levels": 7,
        "task": {"borrow_fee": 0.02},
    }
    env = TradingEnvironment(config)
    assert env.action_space == MultiDiscrete([7, 7])
    assert (_task(env).max_steps, _task(env).borrow_fee) == (9, 0.02)


def test_the_registered_name_is_the_same_env() -> None:
    """Given the same config and task, `trading` from the registry and the class play the same episode to the bit."""
    fields: dict[str, Any] = {"symbols": ("A", "B"), "num_agents": 2}
    task = {"max_steps": 6, "market_regime": "bear"}
    envs = [make_environment("trading", fields | {"task": task}), TradingEnvironment(**fields, task=task)]
    runs = []
    for env in envs:
        rng = np.random.default_rng(0)
        seen, _ = env.reset(seed=4)
        run = [np.stack(list(seen.values()))]
        for _ in range(6):
            seen, rewards, *_ = env.step({a: rng.uniform(-1, 1, 2).astype(np.float32) for a in env.agents})
            run += [np.stack(list(seen.values())), np.array(list(rewards.values()))]
        runs.append(run)
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("synthetic", [True, False])
def test_default_symbols_have_prices(synthetic: bool) -> None:
    """Without symbols an episode can be played on either kind of prices, by the brief's own length."""
    env = TradingEnvironment(use_synthetic_data=synthetic)
    assert env.action_space.shape == (4,)
    seen, _ = env.reset(seed=0)
    seen, rewards, *_ = env.step({agent: np.full(4, 0.25, np.float32) for agent in seen})
    assert all(np.isfinite(array).all() for array in seen.values())
    assert np.isfinite(list(rewards.values())).all()


def test_the_briefs_symbols_that_have_no_real_prices_are_named() -> None:
    """One line says which there are not, and which there are."""
    with pytest.raises(
        ValueError, match=r"^symbols: got 'GOOGL', 'TSLA', allowed in real prices are AAPL, FB, GOOG, IBM"
    ):
        TradingEnvironment(symbols=["AAPL", "GOOGL", "TSLA", "MSFT"], use_synthetic_data=False)


def test_real_data_know_their_symbols() -> None:
    """Real prices are played for symbols they hold, and a symbol they lack is named."""
    env = TradingEnvironment(symbols=["AAPL", "IBM"], max_steps=5, use_synthetic_data=False)
    seen, _ = env.reset(seed=0)
    assert all(np.isfinite(array).all() for array in seen.values())
    with pytest.raises(ValueError, match="NOSUCH"):
        TradingEnvironment(symbols=["AAPL", "NOSUCH"], use_synthetic_data=False)
    TradingEnvironment(symbols=["NOSUCH"], use_synthetic_data=True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"market_regime": "sunny"}, "market_regime"),
        ({"transaction_cost": -0.1}, "transaction_cost"),
        ({"transaction_cost": float("nan")}, "transaction_cost"),
        ({"symbols": []}, "symbols"),
        ({"agent_configs": []}, "agent_configs"),
        ({"num_agents": -1}, "num_agents"),
        ({"leverage": 2}, "leverage"),
        ({"task": {"regime": "bull"}}, "regime"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], named: str) -> None:
    """An argument that is unknown or out of range is a validation error that names it."""
    with pytest.raises(ValidationError, match=named):
        TradingEnvironment(**arguments)


def test_an_episode_ends_in_time_with_its_figures() -> None:
    """After max_steps everybody is truncated, and infos hold the same finite figures of the episode for all."""
    env = TradingEnvironment(max_steps=5)
    observations, _ = env.reset(seed=1)
    for _ in range(5):
        observations, _, terminated, truncated, infos = env.step({a: env.action_space.sample() for a in observations})
    assert truncated["__all__"]
    assert not terminated["__all__"]
    figures = [infos[agent]["metrics"] for agent in env.possible_agents]
    assert all(each == figures[0] for each in figures)
    assert figures[0]
    assert np.isfinite(list(figures[0].values())).all()


def test_the_briefs_example_runs() -> None:
    """`examples/environment_usage.py`, the brief's snippet with other imports, runs from start to end."""
    ended = runpy.run_path(str(ROOT / "examples" / "environment_usage.py"))
    assert ended["step"] == 999 or all(ended["terminated"].values())
    assert set(ended["rewards"]) <= {f"trader_{i}" for i in range(4)}
    assert np.isfinite(list(ended["rewards"].values())).all()
