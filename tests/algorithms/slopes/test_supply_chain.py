"""Tests of the slopes of supply chains, against differences of returns that the env itself paid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from algorithms.slopes.supply_chain import slopes
from envs.base import Differentiable
from envs.supply_chain import SupplyChainEnv, SupplyConfig, SupplyTask
from envs.supply_chain.disruptions import Disruptions, Outage, Surge

WRONG = Disruptions(nodes=Outage(chance=0.1, length=3, strength=0.5), surges=Surge(chance=0.1, length=3, factor=2))
STEPS, WORLDS = 20, 3


def played(env: SupplyChainEnv, actions: list[Any]) -> float:
    """What all worlds earn, mean over agents."""
    env.reset(5)
    total = 0.0
    for each in actions:
        rewards = env.step(each).rewards
        total += sum(float(reward.astype(np.float64).sum()) for reward in rewards.values())
    return total


@pytest.mark.parametrize(
    ("network", "task", "first"),
    [
        ("serial", SupplyTask(), 0),
        ("stage_2", SupplyTask(disruptions=WRONG, carbon=0.1), 0),
        ("stage_1", SupplyTask(smooth=0.05, valued=0.0, max_steps=12), 0),
        ("beer_game", SupplyTask(service=2.0), 0),
        ("distribution", SupplyTask(), 7),
    ],
)
def test_slopes_are_what_a_small_change_changes(network: str, task: SupplyTask, first: int) -> None:
    """Most differences agree to a hundredth; where a kink lies in between, they may not. Episodes end within a tape."""
    env = SupplyChainEnv(SupplyConfig(networks=(network,)), WORLDS, task=task, first_world=first)
    rng = np.random.default_rng(1)
    width = env.hall.ways
    shapes = {role: (WORLDS, count, width) for role, count in env.hall.agents.items()}
    actions = [
        {role: rng.uniform(-0.3, 0.6, shape).astype(np.float32) for role, shape in shapes.items()} for _ in range(STEPS)
    ]
    env.reset(5)
    env.record()
    for each in actions:
        env.step(each)
    found = slopes(env.recorded())
    agents = sum(env.hall.agents.values())
    agree, step = 0, 2e-3
    for _ in range(24):
        role = str(rng.choice(list(found)))
        at = (int(rng.integers(WORLDS)), int(rng.integers(env.hall.agents[role])), int(rng.integers(width)))
        time, sums = int(rng.integers(STEPS - 3)), []
        old = actions[time][role][at]
        for moved in (old + step, old - step):
            actions[time][role][at] = moved
            sums.append(played(env, actions))
        actions[time][role][at] = old
        difference = (sums[0] - sums[1]) / (2 * step) / agents
        agree += abs(difference - found[role][(time, *at)]) < 0.01 + 0.02 * abs(difference)
    assert agree >= 21
    assert any(np.abs(each).max() > 0.01 for each in found.values())


def test_a_tape_is_begun_before_it_is_read() -> None:
    """One line; and without a step there is nothing to say."""
    env = SupplyChainEnv(SupplyConfig(), 1)
    assert isinstance(env, Differentiable)
    env.reset(0)
    with pytest.raises(RuntimeError, match=r"^recorded: nothing was; call record\(\) before the steps$"):
        env.recorded()
    env.record()
    with pytest.raises(ValueError, match=r"^tape: got no step, allowed is one or more$"):
        slopes(env.recorded())
