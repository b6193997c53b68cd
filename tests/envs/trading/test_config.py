"""Bad configurations are refused with one line that names the field, what was given and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from envs.base import AgentConfig
from envs.registry import get_domain
from envs.trading import MarketRegime, TradingConfig, TradingEnv, TradingTask
from envs.trading.config import Terms, TradingAgent

TWICE = [{"agent_id": "a"}, {"agent_id": "b"}, {"agent_id": "a"}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_agents": 0}, "num_agents"),
        ({"num_agents": -3}, "num_agents"),
        ({"agent_configs": []}, "agent_configs"),
        ({"agent_configs": TWICE}, "agent_configs: got agent_id a more than once, allowed are unique ids"),
        ({"symbols": []}, "symbols"),
        ({"symbols": ["X", "X"]}, r"symbols: got \['X', 'X'\], allowed are different names"),
        ({"levels": 4}, "levels: got 4, allowed are odd numbers"),
        ({"levels": 1}, "levels"),
        ({"max_leverage": 4.0}, "maintenance_margin: got 0.25, allowed is less than 1 / max_leverage = 0.25"),
        ({"max_leverage": float("nan")}, "max_leverage"),
        ({"warmup": 10}, "warmup"),
        ({"action_mode": "both"}, "action_mode"),
        ({"leverage": 2}, "leverage"),
    ],
)
def test_bad_configs(values: dict[str, Any], message: str) -> None:
    """Sizes, names and rules that cannot be."""
    with pytest.raises(ValidationError, match=message):
        TradingConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"market_regime": "sideways"}, "calm.*bull.*bear.*volatile.*crisis.*switching"),
        ({"transaction_cost": -0.1}, "transaction_cost"),
        ({"half_spread": float("inf")}, "half_spread"),
        ({"num_assets": 0}, "num_assets"),
        ({"max_steps": 0}, "max_steps"),
        ({"start": "2010-01-01", "end": "2009-01-01"}, "start: got 2010-01-01, allowed is a date before end"),
        ({"start": "soon"}, "start"),
        (
            {"market_impact_factor": 0.02, "impact_half_life": 50},
            "market_impact_factor: got 0.02, allowed is less than",
        ),
        ({"max_participation": 0}, "max_participation"),
    ],
)
def test_bad_tasks(values: dict[str, Any], message: str) -> None:
    """Markets, costs and dates that cannot be."""
    with pytest.raises(ValidationError, match=message):
        TradingTask(**values)


@pytest.mark.parametrize(
    ("config", "task", "message"),
    [
        ({}, {"num_assets": 5}, "num_assets: got 5, allowed is at most 4"),
        ({}, {"num_agents": 5}, "num_agents: got 5, allowed is at most 4"),
        ({}, {"leak_next_return": True}, "leak_next_return: got True, allowed is False unless"),
        ({"data": "real", "symbols": ["AAPL", "TSLA"]}, {}, "symbols: got 'TSLA', allowed in real prices are"),
        ({"data": "real", "symbols": ["AAPL"]}, {"start": "2012-12-01"}, "start, end: got 2012-12-01"),
        ({"data": "no/such.csv"}, {}, "data: got 'no/such.csv', allowed are"),
        ({}, {"start": "2010-01-01"}, "start"),
    ],
)
def test_tasks_that_the_run_cannot_hold(config: dict[str, Any], task: dict[str, Any], message: str) -> None:
    """Too few symbols, agents or prices, at the start and when a task is set later."""
    with pytest.raises(ValueError, match=message) as caught:
        TradingEnv(TradingConfig(**config), 1, task=TradingTask(**task))
    assert "\n" not in str(caught.value)


def test_a_later_task_is_checked_too() -> None:
    """`set_tasks` refuses what the spaces cannot hold, and the env goes on as it was."""
    env = TradingEnv(TradingConfig(), 2)
    with pytest.raises(ValueError, match="num_assets: got 9"):
        env.set_tasks(TradingTask(num_assets=9))
    env.reset(0)
    assert env.tasks == [TradingTask()] * 2


def test_agents_are_made_or_taken_as_given() -> None:
    """Without configs there are `num_agents` equal traders; with them, exactly those."""
    assert [agent.agent_id for agent in TradingConfig(num_agents=2).agents] == ["trader_0", "trader_1"]
    mine = AgentConfig(agent_id="me", initial_balance=5.0)
    assert TradingConfig(agent_configs=(mine,)).agents == (TradingAgent(agent_id="me", initial_balance=5.0),)
    assert TradingConfig(num_agents=1).agents[0].model_dump() == {
        "agent_id": "trader_0",
        "role": "executor",
        "initial_balance": 100_000,
    }


@pytest.mark.parametrize(
    "fields", [{"initial_balance": 0}, {"initial_balance": float("nan")}, {"role": "clown"}, {"x": 1}]
)
def test_a_trader_is_checked_by_trading(fields: dict[str, Any]) -> None:
    """Balances below zero, roles that trading does not know, and unknown keys are errors that name the field."""
    with pytest.raises(ValidationError, match=next(iter(fields))):
        TradingConfig(agent_configs=(AgentConfig(agent_id="a", **fields),))


def test_the_domain_is_found_by_name() -> None:
    """`trading` makes a trading env from plain values."""
    env = get_domain("trading").env({"num_agents": 2}, 3, task={"market_regime": "bull"})
    assert isinstance(env, TradingEnv)
    assert env.tasks[0] == TradingTask(market_regime=MarketRegime.BULL)


def test_a_users_own_file_is_played(tmp_path: Path) -> None:
    """Prices in the env are those of a CSV file, day by day, where nobody trades."""
    rng = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, 90)))
    rows = [
        f"{day},{c},{c * 1.01},{c * 0.99},{c},1000000"
        for day, c in zip(np.arange("2020-01-01", "2020-03-31", dtype="datetime64[D]"), close, strict=True)
    ]
    file = tmp_path / "MINE.csv"
    file.write_text("\n".join(["date,open,high,low,close,volume", *rows]))
    config = TradingConfig(data=str(file), symbols=("MINE",), num_agents=1)
    env = TradingEnv(config, 1, task=TradingTask(max_steps=26))  # 64 days of warm-up and 26 of trading: the whole file
    env.reset(0)
    seen = [env.prices[0, 0]]
    for _ in range(25):
        env.step({"executor": np.zeros((1, 1, 1), np.float32)})
        seen.append(env.prices[0, 0])
    np.testing.assert_allclose(seen, close[63:-1], rtol=1e-12)


def test_terms_hold_every_number_of_the_tasks() -> None:
    """Arrays follow the tasks of their worlds, and the list of leaking worlds is kept."""
    terms = Terms(3, 4)
    tasks = [TradingTask(transaction_cost=0.01 * i, num_assets=i + 1, leak_next_return=i == 1) for i in range(3)]
    terms.set([0, 1, 2], tasks)
    np.testing.assert_allclose(terms.transaction_cost, [0, 0.01, 0.02])
    np.testing.assert_array_equal(terms.active.sum(axis=1), [1, 2, 3])
    np.testing.assert_array_equal(terms.leaks, [1])
    terms.set([1], [TradingTask()])
    assert terms.leaks.size == 0
