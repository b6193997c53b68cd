"""The trading env through the executable contract, in every shape in which it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from envs.base import AgentConfig, AgentRole, BatchedEnv, Step
from envs.contract import check_env
from envs.trading import TradingConfig, TradingEnv, TradingTask

TWO_ROLES = tuple(
    AgentConfig(agent_id=f"agent_{i}", role=role, initial_balance=balance)
    for i, (role, balance) in enumerate(
        [(AgentRole.EXECUTOR, 1e5), (AgentRole.HEDGER, 5e5), (AgentRole.EXECUTOR, 2e7), (AgentRole.HEDGER, 1e3)]
    )
)
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "continuous": ({}, {}),
    "discrete": ({"action_mode": "discrete", "levels": 7}, {}),
    "two roles, team reward": ({"agent_configs": TWO_ROLES, "team_weight": 0.5}, {}),
    "leverage and crises": ({"max_leverage": 3.0}, {"market_regime": "crisis", "volatility_scale": 5.0}),
    "fewer assets and agents": ({"num_agents": 5}, {"num_assets": 2, "num_agents": 3}),
    "leak": ({"allow_leak": True}, {"leak_next_return": True}),
    "long only, in lots": ({"allow_short": False, "lot_size": 10.0, "action_mode": "discrete"}, {}),
    "real prices": ({"data": "real", "symbols": ("AAPL", "IBM", "MSFT")}, {}),
    "one agent, one asset": ({"num_agents": 1, "symbols": ("ONE",)}, {}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_keeps_the_contract(shape: str) -> None:
    """Spaces, masks, seeding, batches, state, endings and rejected actions are as the contract says."""
    config, task = SHAPES[shape]

    def make(num_worlds: int, first_world: int) -> BatchedEnv:
        return TradingEnv(
            TradingConfig(**config), num_worlds, task=TradingTask(max_steps=10, **task), first_world=first_world
        )

    check_env(make, worlds=2, steps=24)


def assert_same(step: Step, world: int, alone: Step) -> None:
    """One world of a batch's step equals a batch of one's."""
    for name in step.rewards:
        np.testing.assert_array_equal(step.rewards[name][world], alone.rewards[name][0])
        np.testing.assert_array_equal(
            step.observation.observations[name][world], alone.observation.observations[name][0]
        )
    np.testing.assert_array_equal(step.observation.state[world], alone.observation.state[0])


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize(("agents", "assets"), [(1, 1), (1, 15), (3, 4), (32, 4), (100, 9)])
def test_a_world_in_a_batch_is_the_world_alone(mode: str, agents: int, assets: int) -> None:
    """Every world of five, played alone under its number, gives the same bits, across restarts and different tasks."""
    symbols = tuple(f"S{i}" for i in range(assets))
    config = TradingConfig(num_agents=agents, symbols=symbols, action_mode=mode, max_leverage=2.0)  # type: ignore[arg-type]
    tasks = [
        TradingTask(max_steps=7, market_regime="crisis", volatility_scale=4.0),
        TradingTask(max_steps=9, num_assets=(assets + 1) // 2, transient_impact_factor=1e-3),
        TradingTask(max_steps=11, daily_value=1e5),
        TradingTask(max_steps=8),
        TradingTask(max_steps=10, market_regime="bull"),
    ]

    def make(chosen: Sequence[TradingTask], first: int) -> TradingEnv:
        env = TradingEnv(config, len(chosen), first_world=first)
        env.set_tasks(chosen)
        env.reset(3)
        return env

    batch, singles = make(tasks, 0), [make([task], k) for k, task in enumerate(tasks)]
    rng = np.random.default_rng(0)
    for _ in range(30):
        shape = (5, agents, assets)
        taken: np.ndarray[Any, Any] = (
            rng.uniform(-1, 1, shape).astype(np.float32) if mode == "continuous" else rng.integers(0, 5, shape)
        )
        step = batch.step({"executor": taken})
        for world, single in enumerate(singles):
            assert_same(step, world, single.step({"executor": taken[world : world + 1]}))


@pytest.mark.parametrize("data", ["synthetic", "real"])
def test_a_state_taken_in_mid_episode_goes_on_to_the_bit(data: str) -> None:
    """A fresh env given another's state goes on exactly as the other, through endings, leaks and mixed tasks."""
    symbols = ("AAPL", "MSFT", "IBM")
    config = TradingConfig(symbols=symbols, data=data, allow_leak=True, max_leverage=2.0)
    first = TradingEnv(config, 3)
    first.set_tasks(
        [
            TradingTask(max_steps=20, leak_next_return=True),
            TradingTask(max_steps=25, num_assets=2, transient_impact_factor=1e-3),
            TradingTask(max_steps=30, max_participation=1e-5),  # so that orders are never filled
        ]
    )
    first.reset(1)
    rng = np.random.default_rng(0)
    actions = [{"executor": rng.uniform(-1, 1, (3, 4, 3)).astype(np.float32)} for _ in range(60)]
    for taken in actions[:13]:
        first.step(taken)
    second = TradingEnv(config, 3)
    second.set_state(first.get_state())
    was, restored = first.observe(), second.observe()
    np.testing.assert_array_equal(restored.observations["executor"], was.observations["executor"])
    np.testing.assert_array_equal(restored.state, was.state)
    for taken in actions[13:]:
        ours, theirs = first.step(taken), second.step(taken)
        np.testing.assert_array_equal(ours.rewards["executor"], theirs.rewards["executor"])
        np.testing.assert_array_equal(
            ours.observation.observations["executor"], theirs.observation.observations["executor"]
        )
        np.testing.assert_array_equal(ours.observation.state, theirs.observation.state)
        if ours.final is not None and theirs.final is not None:
            for name, values in ours.final.metrics.items():
                np.testing.assert_array_equal(values, theirs.final.metrics[name])
