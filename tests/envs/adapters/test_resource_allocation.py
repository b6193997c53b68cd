"""Tests of the allocation env by the brief's name."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from envs.adapters.resource_allocation import ResourceAllocationEnvironment
from envs.registry import get_domain


def test_it_is_the_world_of_the_batch() -> None:
    """By arguments or by RLlib's dictionary, it plays what a batch of one world plays."""
    made = ResourceAllocationEnvironment(num_agents=3, task={"load": 1.5}, max_steps=8)
    other = ResourceAllocationEnvironment({"num_agents": 3, "task": {"load": 1.5}, "max_steps": 8})
    ours = get_domain("resource_allocation").env({"tenants": 3}, 1, task={"load": 1.5, "max_steps": 8})
    seen, _ = made.reset(seed=2)
    also, _ = other.reset(seed=2)
    wanted = ours.reset(2)
    for _ in range(8):
        for agent, row in seen.items():
            np.testing.assert_array_equal(row, also[agent])
        np.testing.assert_array_equal(seen["tenant_0"], wanted.observations["tenant"][0, 0])
        actions = {agent: np.zeros(made.action_spaces[agent].shape, np.float32) for agent in seen}
        seen, _, _, truncated, _ = made.step(actions)
        also = other.step(actions)[0]
        step = ours.step({"tenant": np.zeros((1, 3, 4), np.float32)})
        wanted = step.observation if step.final is None else step.final.observation
    assert truncated["__all__"]


def test_branches_can_be_one_choice() -> None:
    """As DQN wants them."""
    env = ResourceAllocationEnvironment(action_mode="discrete", slots=2, levels=3, flat_actions=True)
    assert env.action_spaces["tenant_0"] == Discrete(9)


def test_a_cluster_that_there_is_not_is_named() -> None:
    """One line."""
    with pytest.raises(ValueError, match="cluster: got 'clouds', allowed are cloud"):
        ResourceAllocationEnvironment(clusters=["clouds"])
