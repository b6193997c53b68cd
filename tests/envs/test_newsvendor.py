"""Tests of demand that has to be found out: what is paid, what is seen, and that rates stay hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.newsvendor import NewsvendorConfig, NewsvendorEnv, NewsvendorTask

GROUP = NewsvendorEnv.GROUP


def made(mode: str = "continuous", worlds: int = 3, task: Any = None, **config: Any) -> NewsvendorEnv:
    fields = {"action_mode": mode, "num_agents": 2, **config}
    env = NewsvendorEnv(NewsvendorConfig.model_validate(fields), worlds, task=NewsvendorTask(**(task or {})))
    env.reset(1)
    return env


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_a_period_costs_what_is_missing_or_left(mode: str) -> None:
    """Ordering exactly what comes is free, one unit less costs `underage`, and one more `overage`."""
    for change, cost in ((0, 0), (-1, 9), (1, 1)):
        env = made(mode, task={"shape": 50.0, "scale": 0.4}, max_order=100.0, num_choices=100_001)
        coming = env._demand[:, 0]
        assert (coming > 0).all()
        step = env.step({GROUP: env.actions_of(coming + change)})
        np.testing.assert_allclose(step.rewards[GROUP], -cost, atol=0.05)  # choices are roots, and not exact
        np.testing.assert_array_equal(step.observation.observations[GROUP][..., 1], coming)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_actions_are_roots_of_orders(mode: str) -> None:
    """From nothing to the largest order; what can be ordered comes back, and more than that is cut."""
    env = made(mode, max_order=150.0, num_choices=76)
    orders = 150 * (np.arange(76) / 75) ** 2
    actions = env.actions_of(np.stack([orders, orders], axis=1))
    np.testing.assert_allclose(env.orders(actions)[:, 0], orders, atol=1e-4)
    assert actions[0, 0, 0] == (-1 if mode == "continuous" else 0)
    assert actions[-1, 0, 0] == (1 if mode == "continuous" else 75)
    assert env.orders(env.actions_of(np.full((1, 1), 900.0))).max() == pytest.approx(150)


def test_nothing_is_known_when_an_episode_begins() -> None:
    """The first period shows zeros, whatever the rates; then time and the last demand, and what was seen adds up."""
    env = made(task={"max_steps": 4})
    nothing = {GROUP: np.full((3, 2, 1), -1.0, np.float32)}
    assert not env.observe().observations[GROUP].any()
    rates, total = env.rates.copy(), np.zeros((3, 2))
    np.testing.assert_allclose(env.observe().state, rates, rtol=1e-6)
    for period in range(1, 4):
        step = env.step(nothing)
        total += -step.rewards[GROUP] / 9
        np.testing.assert_array_equal(step.observation.observations[GROUP][..., 0], period / 4)
        np.testing.assert_allclose(env.seen, total, rtol=1e-6)
    last = env.step(nothing)
    assert last.final is not None
    assert not last.observation.observations[GROUP].any()
    assert not env.seen.any()
    assert (env.rates != rates).all()
    np.testing.assert_allclose(last.final.metrics["period_cost"], -last.final.returns[GROUP].mean(axis=1) / 4)


def test_rates_and_demand_are_what_the_task_says() -> None:
    """Rates are Gamma distributed, and demand is Poisson: mean and variance of both, and of what is seen."""
    env = made(worlds=4000, num_agents=1, task={"max_steps": 1})
    rates, demand = env.rates.ravel(), env._demand.ravel()
    assert rates.mean() == pytest.approx(20, abs=1)
    assert rates.var() == pytest.approx(200, rel=0.15)
    assert demand.var() == pytest.approx(220, rel=0.15)
    assert np.mean((demand - rates) ** 2) == pytest.approx(20, rel=0.15)
