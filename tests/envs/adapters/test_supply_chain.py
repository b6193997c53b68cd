"""Tests of the supply-chain env by the brief's name."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from envs.adapters.supply_chain import SupplyChainEnvironment
from envs.registry import get_domain


def test_it_is_the_world_of_the_batch() -> None:
    """By arguments or by RLlib's dictionary, it plays what a batch of one world plays."""
    made = SupplyChainEnvironment(networks=["assembly"], task={"spread": 0.5}, max_steps=8)
    other = SupplyChainEnvironment({"networks": ["assembly"], "task": {"spread": 0.5}, "max_steps": 8})
    ours = get_domain("supply_chain").env({"networks": ("assembly",)}, 1, task={"spread": 0.5, "max_steps": 8})
    seen, _ = made.reset(seed=2)
    also, _ = other.reset(seed=2)
    wanted = ours.reset(2)
    for _ in range(8):
        for agent, row in seen.items():
            np.testing.assert_array_equal(row, also[agent])
        np.testing.assert_array_equal(seen["retailer_0"], wanted.observations["retailer"][0, 0])
        actions = {agent: np.zeros(made.action_spaces[agent].shape, np.float32) for agent in seen}
        seen, _, _, truncated, _ = made.step(actions)
        also = other.step(actions)[0]
        step = ours.step({name: np.zeros((1, g.size, g.num_actions), np.float32) for name, g in ours.groups.items()})
        wanted = step.observation if step.final is None else step.final.observation
    assert truncated["__all__"]


def test_branches_can_be_one_choice() -> None:
    """As DQN wants them."""
    env = SupplyChainEnvironment(action_mode="discrete", flat_actions=True)
    assert env.action_spaces["retailer_0"] == Discrete(9)


def test_a_network_that_there_is_not_is_named() -> None:
    """One line."""
    with pytest.raises(ValueError, match="network: got 'chain', allowed are assembly"):
        SupplyChainEnvironment(networks=["chain"])
