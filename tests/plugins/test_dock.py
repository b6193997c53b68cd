"""Tests of what a domain may bring beyond one reward and a fixed team, with a domain that only tests know."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from algorithms.export import export_bundle
from algorithms.ppo import PPOConfig
from envs.adapters.parallel import BatchedParallelEnv
from envs.adapters.rllib import BaseMultiAgentEnvironment
from envs.base import BatchedEnv
from envs.contract import ContractError, check_env
from envs.registry import get_domain
from envs.sampling import random_actions
from policies.bundle import load_bundle
from policies.rollout import play

ADDRESS = "dock:DOMAIN"


@pytest.fixture(autouse=True)
def dock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the throw-away domain, found as a user's own is."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    __import__("dock")
    yield sys.modules["dock"]
    sys.modules.pop("dock", None)


def make(worlds: int, first: int = 0, task: Any = None, team: float = 0.0) -> BatchedEnv:
    """Worlds of the dock."""
    return get_domain(ADDRESS).env({"team_weight": team}, worlds, task=task, first_world=first)


@pytest.mark.parametrize("team", [0.0, 0.3])
def test_it_keeps_the_contract(team: float) -> None:
    """Turns, arrivals, objectives and costs are within the contract."""
    check_env(lambda worlds, first: make(worlds, first, team=team), worlds=3, steps=40)


def test_the_reward_is_the_weighted_sum_of_the_objectives() -> None:
    """Each world's task weighs for itself, and what an episode added up is in its account."""
    env = make(2)
    env.set_tasks([env.tasks[0], env.tasks[0].model_copy(update={"care": 2.0})])
    seen, rng, summed = env.reset(0), np.random.default_rng(0), np.zeros((2, 2, 2))
    for _ in range(12):
        step = env.step(random_actions(env.groups, seen, rng))
        seen = step.observation
        for name, paid in step.objectives.items():
            expected = paid[:, :, 0] + np.array([[0.5], [2.0]]) * paid[:, :, 1]
            np.testing.assert_allclose(step.rewards[name], expected, rtol=1e-6)
        summed += step.objectives["cranes"]
    assert step.final is not None
    np.testing.assert_allclose(step.final.objectives["cranes"], summed, rtol=1e-6)
    speed = np.concatenate([array[:, :, 0] for array in step.final.objectives.values()], axis=1).mean(axis=1)
    np.testing.assert_allclose(step.final.metrics["objective_speed"], speed)
    assert set(step.final.metrics) == {"objective_speed", "objective_care", "cost_damage"}
    assert (step.final.costs["clerks"] >= 0).all()


def test_a_level_is_played_again() -> None:
    """Told the task and the level of an episode, any world of any run plays it again, to the bit."""
    env, rng = make(3), np.random.default_rng(1)
    seen, taken = env.reset(5), []
    for _ in range(24):
        taken.append(random_actions(env.groups, seen, rng))
        step = env.step(taken[-1])
        seen = step.observation
    assert step.final is not None
    np.testing.assert_array_equal(step.final.levels, [[5, world, 1] for world in range(3)])
    again = make(1, first=40)
    again.reset(99)
    again.replay(step.final.levels[2:], [0])
    again.restart([0])
    for actions in taken[12:]:
        repeated = again.step({name: array[2:] for name, array in actions.items()})
    assert repeated.final is not None
    for name, returns in step.final.returns.items():
        np.testing.assert_array_equal(repeated.final.returns[name], returns[2:])
    np.testing.assert_array_equal(repeated.final.levels, step.final.levels[2:])
    assert again.streams.levels.tolist() == [[99, 40, 2]]  # and after it the world goes on as it would have
    with pytest.raises(ValueError, match=r"^levels: got shape \(1, 2\), allowed are 3 numbers"):
        again.replay([[1, 2]], [0])


def test_a_replay_survives_a_checkpoint() -> None:
    """A level that waits for the next reset is part of the state."""
    env = make(2)
    env.reset(0)
    env.replay([[7, 8, 9]], [1])
    other = make(2)
    other.set_state(env.get_state())
    other.restart([0, 1])
    assert other.streams.levels.tolist() == [[0, 0, 1], [7, 8, 9]]


@pytest.mark.parametrize("field", ["objectives", "costs", "arrived", "acts"])
def test_the_checker_sees_what_is_wrong(field: str, dock: Any) -> None:
    """Objectives of the absent, costs that are missing, arrivals of those who are there, turns of those who are not."""

    class Broken(dock.DockEnv):  # type: ignore[misc, name-defined]
        def step(self, actions: Any) -> Any:
            there = self.alive["cranes"].copy()
            step = super().step(actions)
            if field == "objectives":
                step.objectives["cranes"] = step.objectives["cranes"] + np.float32(1) * ~there[:, :, None]
            elif field == "costs":
                step.costs = {}
            elif field == "arrived":
                step.arrived["clerks"] = ~step.terminated["clerks"]
            else:
                step.observation.acts["cranes"] = np.ones_like(there)
            return step

    clause = {"objectives": "dead agents", "costs": "shapes", "arrived": "alive", "acts": "dead agents"}[field]
    with pytest.raises(ContractError) as error:
        check_env(lambda b, k: Broken(dock.EnvConfig(), b, first_world=k), worlds=2, steps=30)
    assert error.value.clause == clause, str(error.value)


def test_pettingzoo_sees_agents_come_and_go() -> None:
    """The late crane is in no dictionary before it arrives, and in all from then on; only who is asked must act."""
    env = BatchedParallelEnv(make(1))
    seen, _ = env.reset(seed=0)
    assert set(seen) == {"clerk", "crane_0"}
    assert env.acting == ["clerk"]
    listed = []
    for _ in range(11):
        actions = {agent: env.action_space(agent).sample() for agent in env.acting}
        seen, rewards, terminated, truncated, infos = env.step(actions)
        assert set(seen) == set(rewards) == set(terminated) == set(truncated) == set(infos)
        listed.append("crane_1" in env.agents)
    assert listed == [2 <= step <= 4 or step >= 7 for step in range(11)]
    with pytest.raises(ValueError, match=r"^actions: got none for crane_0, crane_1, allowed is one for every agent"):
        env.step({})


def test_objectives_and_costs_reach_both_interfaces() -> None:
    """PettingZoo hears of every step; RLlib, which hears of an agent when it is asked, of all steps since then."""
    zoo, rllib, ours = BatchedParallelEnv(make(1)), BaseMultiAgentEnvironment(make(1)), make(1)
    zoo.reset(seed=3)
    asked, _ = rllib.reset(seed=3)
    seen, rng = ours.reset(3), np.random.default_rng(0)
    sums: dict[str, dict[str, float]] = {agent: {} for agent in ours.agent_ids}
    for _ in range(12):
        actions = random_actions(ours.groups, seen, rng)
        by_agent = {
            agent: actions[group.name][0, place]
            for group in ours.groups.values()
            for place, agent in enumerate(group.agent_ids)
        }
        step = ours.step(actions)
        seen = step.observation
        infos = zoo.step({agent: by_agent[agent] for agent in zoo.acting})[-1]
        for agent, info in infos.items():
            if "objectives" not in info:
                continue  # it has just arrived
            group, place = next((g, g.agent_ids.index(agent)) for g in ours.groups.values() if agent in g.agent_ids)
            assert list(info["objectives"].values()) == step.objectives[group.name][0, place].tolist()
            assert info["costs"] == {"damage": step.costs[group.name][0, place, 0]}
        asked, _, _, _, heard = rllib.step({agent: by_agent[agent] for agent in asked if agent in rllib.agents})
        for agent, info in heard.items():
            for name, value in (info.get("objectives", {}) | info.get("costs", {})).items():
                sums[agent][name] = sums[agent].get(name, 0.0) + value
    assert step.final is not None
    for group in ours.groups.values():
        for place, agent in enumerate(group.agent_ids):
            earned = [sums[agent][name] for name in ("speed", "care")]
            np.testing.assert_allclose(earned, step.final.objectives[group.name][0, place], rtol=1e-6)
            np.testing.assert_allclose(sums[agent]["damage"], step.final.costs[group.name][0, place, 0])


def test_rewards_may_be_vectors() -> None:
    """As MOMAland has it: each agent's objectives, an array in its reward space, whose weighted sum is paid else."""
    plain, vector = BatchedParallelEnv(make(1)), BatchedParallelEnv(make(1), vector_rewards=True)
    plain.reset(seed=0)
    vector.reset(seed=0)
    for _ in range(12):
        actions = {agent: plain.action_space(agent).sample() for agent in plain.acting}
        paid, found = plain.step(actions)[1], vector.step(actions)[1]
        assert set(paid) == set(found)
        for agent, reward in found.items():
            assert reward.dtype == np.float32
            assert vector.reward_space(agent).contains(reward)
            assert reward @ [1, 0.5] == pytest.approx(paid[agent], abs=1e-6)
    with pytest.raises(ValueError, match=r"^vector_rewards: got True, allowed is an env with objectives"):
        BatchedParallelEnv(get_domain("cue").env({}, 1), vector_rewards=True)


def test_rllib_observes_those_whose_turn_it_is() -> None:
    """RLlib asks whoever is observed: the others are silent until the end, when all are seen."""
    env = BaseMultiAgentEnvironment(make(1))
    seen, _ = env.reset(seed=0)
    heard = [set(seen)]
    for _ in range(12):
        seen, _, terminated, truncated, _ = env.step(
            {a: env.action_spaces[a].sample() for a in heard[-1] & set(env.agents)}
        )
        heard.append(set(seen))
    both = {"crane_0", "crane_1"}
    assert heard[:6] == [{"clerk"}, {"crane_0"}, {"clerk"}, both, {"clerk"}, both]
    assert heard[6] == {"clerk", "crane_1"}  # which leaves here
    assert heard[12] == {"clerk", *both}
    assert truncated["__all__"]
    assert not terminated["__all__"]


def test_it_is_trained_exported_and_played(ray_local: None, tmp_path: Path) -> None:
    """Two groups with different spaces learn from turns alone, and their bundle plays what the networks play."""
    config = (
        PPOConfig()
        .environment(ADDRESS)
        .env_runners(num_envs_per_env_runner=8, rollout_fragment_length=32)
        .training(minibatch_size=64)
        .batched(policies="per_role")
    )
    algorithm = config.build_algo()
    try:
        rollout = algorithm.env_runner.sample(round=0)
        rows = {name: len(batch["obs"]) for name, batch in rollout.batches.items()}
        # In two episodes of 12 steps and 8 of a third, the first crane has 6 + 6 + 4 turns, the last of which is open,
        # and the second one 4 + 4 + 2, the last of which ended with its leaving; the clerk is about to act again.
        assert rows == {"clerks": 8 * 16, "cranes": 8 * (15 + 10)}
        assert all(
            (batch["obs"][:, -1 if name == "clerks" else 0] == (name == "cranes")).all()
            for name, batch in rollout.batches.items()
        )
        assert rollout.episodes[0].level == (0, 0, 0)
        for _ in range(2):
            algorithm.train()
        policy = algorithm.as_policy()
        mapping = algorithm.config.policy_mapping()
        modules = {name: algorithm.env_runner.module[name] for name in mapping.modules}
        with torch.no_grad():
            export_bundle(tmp_path / "bundle", modules, mapping, name="dock", domain=ADDRESS, env_config={})
        env = make(4)
        torch_played = play(env, policy, env.tasks[0], seed=3)
        onnx_played = play(make(4), load_bundle(tmp_path / "bundle"), env.tasks[0], seed=3)
        np.testing.assert_allclose(torch_played.returns, onnx_played.returns, rtol=1e-4)
        assert "objective_speed" in torch_played.metrics
    finally:
        algorithm.stop()
