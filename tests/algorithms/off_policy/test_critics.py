"""Tests of critics that value actions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from algorithms.networks.config import NetworkConfig
from algorithms.networks.module import module_spec
from algorithms.networks.squashed import SquashedModule
from algorithms.off_policy.critics import ActionCritic, BranchCritic, CentralCritic, action_width, encoded
from envs.cue import CueConfig, CueEnv


def policy_of(mode: Any, kind: Any, agents: int = 3) -> SquashedModule:
    """A cue agent's network."""
    (group,) = CueEnv(CueConfig(action_mode=mode, num_agents=agents), 1).groups.values()
    made = module_spec(group, NetworkConfig(kind=kind, hidden_sizes=(16,)), kind=SquashedModule).build()
    assert isinstance(made, SquashedModule)
    return made


@pytest.mark.parametrize("kind", ["pooled", "flat"])
@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_an_action_moves_its_value(mode: str, kind: str) -> None:
    """Each of an agent's actions has a slope, and, in a pooled critic, belongs to its entity."""
    policy = policy_of(mode, kind)
    critic = ActionCritic(policy)
    seen = torch.randn(5, policy.layout.size)
    seen[:, policy.layout.mask_slice] = 1.0
    actions = torch.rand(5, action_width(policy), requires_grad=True)
    (slopes,) = torch.autograd.grad(critic(seen, actions).sum(), actions)
    assert (slopes.abs().sum(dim=0) > 0).all()
    if kind == "pooled":  # entities that change places take their actions with them
        swapped, width = seen.clone(), actions.shape[1] // 3
        table = swapped[:, policy.layout.entity_slice].unflatten(1, (3, -1))[:, [1, 0, 2]].flatten(1)
        swapped[:, policy.layout.entity_slice] = table
        moved = actions.unflatten(1, (3, width))[:, [1, 0, 2]].flatten(1)
        torch.testing.assert_close(critic(swapped, moved), critic(seen, actions))


def test_choices_are_encoded_branch_by_branch() -> None:
    """A one-hot code of each branch, side by side."""
    policy = policy_of("discrete", "flat")
    assert encoded(torch.tensor([[1, 0, 3]]), policy).tolist() == [[0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]]


def test_values_of_branches_are_as_many_as_choices() -> None:
    """One of each choice of each branch."""
    policy = policy_of("discrete", "pooled")
    assert BranchCritic(policy)(torch.randn(7, policy.layout.size)).shape == (7, 3, 4)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_what_if_is_what_it_says(mode: str) -> None:
    """Asked what one agent might have done instead, a central critic says what it says of that joint action."""
    policy, agents, rows = policy_of(mode, "flat"), 3, 6
    width, size = action_width(policy), policy.layout.size
    critic = CentralCritic(policy, agents, agents * size, agents * (size + width), (16, 8), "tanh")
    seen = torch.randn(rows, agents, size)
    done, instead = torch.rand(rows, agents, width), torch.rand(rows, agents, width)
    joint = torch.cat([seen.flatten(1), done.flatten(1)], dim=1)
    asked = critic(joint, seen, done, instead)
    for agent in range(agents):
        other = done.clone()
        other[:, agent] = instead[:, agent]
        said = critic(torch.cat([seen.flatten(1), other.flatten(1)], dim=1), seen, other)
        torch.testing.assert_close(asked[:, agent], said[:, agent])
    torch.testing.assert_close(critic(joint, seen, done, done), critic(joint, seen, done))
