"""Tests of whose costs count: shared as rewards are, estimated as rewards are, and measured as tables show them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from algorithms.costs import ADVANTAGES, TARGETS, Exam, of_episodes, shared
from algorithms.export import export_graph, golden_rows
from algorithms.networks.config import NetworkConfig
from algorithms.networks.module import module_spec
from algorithms.ppo import PPOConfig
from algorithms.rollout import EpisodeRecord
from algorithms.runner import BatchedEnvRunner
from envs.contract import check_env
from envs.registry import get_domain
from policies.base import Policy

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))
from bandit import GROUP, BanditTask


def env_of(worlds=4, **config):
    return get_domain("bandit:DOMAIN").env(config, worlds)


def runner_of(limits, network=None, env=None, **task):
    config = (
        PPOConfig()
        .environment("bandit:DOMAIN", env_config=env or {})
        .env_runners(num_envs_per_env_runner=3, rollout_fragment_length=7)
        .training(minibatch_size=8, gamma=0.5, lambda_=1.0)
        .batched(task=task, network=network or {})
    )
    config.limits = limits
    config.validate()
    return BatchedEnvRunner(config=config)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_the_bandit_keeps_the_contract(mode):
    """What the proofs rest on is an env like any other."""
    check_env(
        lambda worlds, first: get_domain("bandit:DOMAIN").env({"action_mode": mode}, worlds, first_world=first),
        stochastic=False,
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_costs_are_shared_as_rewards_are(weight):
    """Sharing `r - lambda c` is the same as sharing each: what agents pursue is the team's Lagrangian."""
    env = env_of(team_weight=weight, num_agents=3)
    env.reset(0)
    env.alive[GROUP][1, 2] = False
    rng = np.random.default_rng(0)
    rewards, costs = rng.random((2, 4, 3)).astype(np.float32) * env.alive[GROUP]
    together = env._share({GROUP: rewards - 2 * costs})[GROUP]
    found = shared({GROUP: costs[..., None]}, env.alive, weight)[GROUP][..., 0]
    np.testing.assert_allclose(env._share({GROUP: rewards})[GROUP] - 2 * found, together, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), costs.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("share_trunk", [True, False])
@pytest.mark.parametrize("length", [1, 3])
def test_the_costs_critic_and_advantages(share_trunk, length):
    """With `lambda = 1` targets are the discounted costs up to the end, bootstrapped from what the cost's head says."""
    runner = runner_of({"square": 0.2}, network={"share_trunk": share_trunk}, max_steps=length)
    head = runner.module["shared"].cost_heads["square"]
    torch.nn.init.zeros_(head.layer.weight)
    torch.nn.init.constant_(head.layer.bias, 4.0)
    rows = runner.sample().batches["shared"]
    cost = np.clip(rows["actions"].reshape(7, 3, 2), -1, 1) ** 2
    expected, ahead = np.zeros_like(cost), np.full((3, 2), 4.0)
    for step in range(6, -1, -1):
        if (step + 1) % length == 0:  # cut off: worth what the critic says
            ahead = np.full((3, 2), 4.0)
        ahead = expected[step] = cost[step] + 0.5 * ahead
    np.testing.assert_allclose(rows[TARGETS + "square"].reshape(7, 3, 2), expected, rtol=1e-5)
    np.testing.assert_allclose(rows[ADVANTAGES + "square"].reshape(7, 3, 2), expected - 4, atol=1e-5)
    assert TARGETS + "none" not in rows


def test_costs_of_a_team_reach_all_its_agents():
    """Where the reward is the team's, every agent's cost is the team's mean."""
    rows = runner_of({"square": 0.2}, env={"team_weight": 1.0, "num_agents": 4}).sample().batches["shared"]
    head = rows[TARGETS + "square"] - rows[TARGETS + "square"].reshape(7, 3, 4)[:, :, :1].repeat(4, axis=2).reshape(-1)
    np.testing.assert_allclose(head, 0, atol=1e-6)


def test_without_limits_nothing_is_added():
    """Rows, weights and what is sampled are those of a run that never heard of costs, to the bit."""
    with_limits, without = runner_of({"square": 0.2}), runner_of({})
    without.module["shared"].load_state_dict(with_limits.module["shared"].state_dict(), strict=False)
    charged, plain = (each.sample().batches["shared"] for each in (with_limits, without))
    assert set(charged) - set(plain) == {ADVANTAGES + "square", TARGETS + "square"}
    for name, column in plain.items():
        np.testing.assert_array_equal(column, charged[name])


@pytest.mark.parametrize("share_trunk", [True, False])
def test_a_bundle_knows_nothing_of_costs(share_trunk):
    """Networks start alike with costs and without, and graphs that are exported hold the same and say the same."""
    outputs, operations, states = [], [], []
    for costs in ((), ("square", "none")):
        torch.manual_seed(3)
        group = env_of().groups[GROUP]
        module = module_spec(group, NetworkConfig(share_trunk=share_trunk), 1, costs).build()
        states.append(module.state_dict())
        graph = export_graph({"shared": module})
        operations.append([node.op_type for node in onnx.load_model_from_string(graph).graph.node])
        session = onnxruntime.InferenceSession(graph)
        rows = golden_rows(module, 5)
        given = {i.name: rows.masks if i.type == "tensor(bool)" else rows.observations for i in session.get_inputs()}
        outputs.append(session.run(None, given))
    assert operations[0] == operations[1]
    for plain, charged in zip(*outputs, strict=True):
        np.testing.assert_array_equal(plain, charged)
    assert set(states[1]) - set(states[0])
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])


class Steady(Policy):
    """Chooses 0.4 where it explores, and 0.5 where it does not."""

    def act(self, observation, state, *, deterministic, rng):
        """The same everywhere."""
        shape = (*observation.alive[GROUP].shape, 1)
        return {GROUP: np.full(shape, 0.5 if deterministic else 0.4, np.float32)}, state


def test_an_exam_plays_with_exploration_and_without():
    """It returns the mean sums over an episode's steps, of each cost asked for, whatever an episode's length."""
    exam = Exam(env_of(), ("square", "none"), episodes=6)
    for length in (1, 3):
        both = exam.hold(Steady(), BanditTask(max_steps=length), (0, 5))
        np.testing.assert_allclose(both, [[0.16 * length, 0], [0.25 * length, 0]], rtol=1e-6)
    assert exam.per_world == 2


def test_only_episodes_of_the_task_count():
    """Rehearsed stages move no multiplier."""
    records = [
        EpisodeRecord(task, 0.0, 1, {"cost_late": cost, "cost_lost": 2 * cost})
        for task, cost in (("hard", 1.0), ("easy", 50.0), ("hard", 3.0))
    ]
    np.testing.assert_allclose(of_episodes(records, "hard", ("lost", "late")), [4.0, 2.0])
    assert of_episodes(records, "other", ("late",)) is None
