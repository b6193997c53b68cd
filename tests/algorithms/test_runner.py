"""Tests of the batched runner, held to the numbers of the cue env."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from algorithms.networks.protocol import ACTION_MASK, STATE
from algorithms.ppo import PPOConfig
from algorithms.runner import BatchedEnvRunner

GAMMA = 0.8


def make(
    worlds=3,
    steps=12,
    *,
    worker_index=0,
    num_workers=0,
    task=None,
    env=None,
    network=None,
    policies="shared",
    lambda_=0.9,
    seed=0,
):
    """A runner of the cue env, without any Ray."""
    config = (
        PPOConfig()
        .environment("cue", env_config={"num_agents": 2, **(env or {})})
        .env_runners(num_envs_per_env_runner=worlds, rollout_fragment_length=steps)
        .training(gamma=GAMMA, lambda_=lambda_, minibatch_size=2)
        .debugging(seed=seed)
        .batched(task=task, network=network or {}, policies=policies)
    )
    config.validate()
    return BatchedEnvRunner(config=config, worker_index=worker_index, num_workers=num_workers)


def play_perfectly(runner, values=None):
    """Makes the runner's network repeat the cue, and value what it sees by `values` (0 by default)."""
    module = runner.module["shared"]
    entities = module.layout.num_entities

    def policy(batch):
        cues = batch[Columns.OBS][:, 1 : 1 + entities]
        return torch.cat([cues, torch.full_like(cues, -20.0)], dim=1)

    def value(batch):
        observations = batch[Columns.OBS]
        return torch.zeros(len(observations)) if values is None else values(observations)

    module.forward_policy, module.compute_all_values = policy, lambda batch: [value(batch)]
    module.forward_policy_and_values = lambda batch: (policy(batch), [value(batch)])
    return runner


@pytest.mark.parametrize("share_trunk", [True, False])
def test_advantages_vanish_for_a_perfect_team_whose_episodes_are_cut_off(share_trunk):
    """Reward 1 for ever is worth 1 / (1 - gamma) at every step, across truncations and at the end of the rollout."""
    runner = make(task={"max_steps": 5}, network={"share_trunk": share_trunk})
    play_perfectly(runner, lambda observations: torch.full((len(observations),), 1 / (1 - GAMMA)))
    rows = runner.sample().batches["shared"]
    np.testing.assert_allclose(rows[Postprocessing.ADVANTAGES], 0, atol=1e-5)
    np.testing.assert_allclose(rows[Postprocessing.VALUE_TARGETS], 1 / (1 - GAMMA), rtol=1e-5)


def test_advantages_vanish_for_a_perfect_team_that_terminates():
    """With n steps to live, an agent is worth (1 - gamma^n) / (1 - gamma); termination is never bootstrapped."""
    runner = make(task={"max_steps": 10, "lifetimes": (6, 6)})

    def values(observations):
        left = 6 - observations[:, 0] * 10
        return (1 - GAMMA**left) / (1 - GAMMA)

    play_perfectly(runner, values)
    np.testing.assert_allclose(runner.sample().batches["shared"][Postprocessing.ADVANTAGES], 0, atol=1e-4)


def test_only_survivors_are_bootstrapped_when_time_is_up():
    """With lambda 1 and a critic that says 100, an agent dead at the cut gets its rewards, the other 100 as well."""
    runner = make(worlds=1, steps=5, task={"max_steps": 5, "lifetimes": (3, 0)}, lambda_=1.0)
    play_perfectly(runner, lambda observations: torch.full((len(observations),), 100.0))
    targets = runner.sample().batches["shared"][Postprocessing.VALUE_TARGETS]
    short = [(1 - GAMMA**left) / (1 - GAMMA) for left in (3, 2, 1)]
    long = [(1 - GAMMA**left) / (1 - GAMMA) + 100 * GAMMA**left for left in (5, 4, 3, 2, 1)]
    expected = [short[0], long[0], short[1], long[1], short[2], long[2], long[3], long[4]]
    np.testing.assert_allclose(targets, expected, rtol=1e-5)


def test_rows_of_agents_that_are_dead_or_absent_are_left_out():
    """Two of three agents take part, one of them for 4 of 10 steps: 14 rows an episode, none of them empty."""
    runner = make(worlds=4, steps=10, env={"num_agents": 3}, task={"agents": 2, "lifetimes": (4,)})
    rollout = runner.sample()
    assert rollout.agent_steps() == 4 * 14
    assert rollout.env_steps() == 4 * 10
    assert (rollout.batches["shared"][Columns.OBS][:, -2] == 1).all()  # the second entity exists, where anyone looks


def test_worlds_are_the_same_alone_and_in_a_batch():
    """World 2 of three plays what it plays in a batch of its own, given the same actions, to the bit."""
    together = play_perfectly(make(worlds=3, steps=20)).sample().batches["shared"]
    alone = make(worlds=1, steps=20, worker_index=3, num_workers=3)
    apart = play_perfectly(alone).sample().batches["shared"]
    agents = 2
    for name in (Columns.OBS, Postprocessing.ADVANTAGES, ACTION_MASK):
        column = together[name].reshape(20, 3, agents, -1)[:, 2].reshape(20 * agents, -1)
        np.testing.assert_array_equal(column, apart[name].reshape(20 * agents, -1))


def test_rollouts_follow_on_from_each_other():
    """Two rollouts of 7 steps see what one of 14 does: episodes go on where the last rollout stopped."""
    short = play_perfectly(make(steps=7))
    parts = [short.sample().batches["shared"][Columns.OBS].copy() for _ in range(2)]
    whole = play_perfectly(make(steps=14)).sample().batches["shared"][Columns.OBS]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_actions_are_clipped_for_the_env_only():
    """The likelihood belongs to the action that was drawn; what the env gets is within bounds."""
    runner = make(network={"initial_log_std": 1.0})
    rows = runner.sample().batches["shared"]
    drawn = rows[Columns.ACTIONS]
    assert np.abs(drawn).max() > 1
    mean, log_std = np.split(rows[Columns.ACTION_DIST_INPUTS], 2, axis=1)
    normal = -0.5 * ((drawn - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(rows[Columns.ACTION_LOGP], normal.sum(axis=1), rtol=1e-4, atol=1e-4)


def test_discrete_choices_respect_their_masks():
    """An entity out of play leaves one choice, which is the one taken."""
    runner = make(env={"action_mode": "discrete", "num_entities": 3}, task={"entities": 1})
    rows = runner.sample().batches["shared"]
    assert (rows[Columns.ACTIONS][:, 1:] == 0).all()
    assert len(np.unique(rows[Columns.ACTIONS][:, 0])) == 4
    assert rows[ACTION_MASK].shape == (len(rows[Columns.OBS]), 12)


def test_the_state_is_there_for_a_central_critic_only():
    """Every row of living agents has its own world's state beside it; a decentralised critic gets none."""
    task = {"max_steps": 6, "lifetimes": (2,), "entities": 3}
    rows = make(network={"central_critic": True}, task=task).sample().batches["shared"]
    cues = rows[Columns.OBS][:, 1:4]
    first, second = rows[STATE][:, :3], rows[STATE][:, 3:]
    assert ((first == cues).all(axis=1) | (second == cues).all(axis=1)).all()
    assert STATE not in make(task=task).sample().batches["shared"]


@pytest.mark.parametrize("policies", ["per_role", "per_agent"])
def test_modules_have_rows_of_their_own(policies):
    """Together they have all agents' rows."""
    rollout = make(policies=policies).sample()
    modules = {"per_role": {"repeaters"}, "per_agent": {"repeater_0", "repeater_1"}}[policies]
    assert set(rollout.batches) == modules
    assert rollout.agent_steps() == 3 * 12 * 2


def test_episodes_are_recorded():
    """Return, length and task of every episode that ended, in units of the env's own rewards."""
    runner = play_perfectly(make(worlds=2, steps=11, task={"max_steps": 5, "name": "short"}))
    episodes = runner.sample().episodes
    assert [(record.task, record.length) for record in episodes] == [("short", 5)] * 4
    assert all(record.mean_return == pytest.approx(5, abs=1e-4) for record in episodes)


def test_tasks_go_to_worlds_by_their_number_in_the_run():
    """World w plays tasks[w % n], across runners, from its next episode on."""
    names = ["a", "b", "c"]
    for worker_index, first in ((1, 0), (2, 4)):
        runner = make(worlds=4, steps=3, worker_index=worker_index, num_workers=2, task={"max_steps": 2, "name": "x"})
        runner.sample()
        runner.set_tasks([{"max_steps": 2, "name": name} for name in names])
        ended = runner.sample().episodes  # ends the episode at hand, and one of the new tasks
        assert [record.task for record in ended[:4]] == ["x"] * 4
        assert [record.task for record in ended[4:]] == [names[(first + world) % 3] for world in range(4)]


def test_a_runner_continues_anothers_worlds_to_the_bit():
    """With the same weights and the worlds' state, a fresh runner samples exactly what the first one would have."""
    first, second = make(steps=7), make(steps=7)
    second.set_state(first.get_state())
    first.sample()
    first.set_tasks([{"max_steps": 4}])
    second.set_worlds(first.get_worlds())
    for _ in range(3):
        expected, found = first.sample(), second.sample()
        for name, column in expected.batches["shared"].items():
            np.testing.assert_array_equal(found.batches["shared"][name], column)
        assert found.episodes == expected.episodes


def test_a_restarted_runner_does_not_repeat_itself():
    """Worlds that begin again after a runner died show what no episode has shown before, yet reproducibly."""
    fresh, restarted, again = make(), make(), make()
    restarted.restart(round=5, tasks=[{"max_steps": 3}])
    again.restart(round=5, tasks=[{"max_steps": 3}])
    seen = [runner.sample().batches["shared"][Columns.OBS] for runner in (fresh, restarted, again)]
    assert not np.array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[1], seen[2])


def test_another_seed_is_another_run():
    """Both cues and actions differ."""
    first, second = (make(seed=seed).sample().batches["shared"] for seed in (0, 1))
    assert not np.array_equal(first[Columns.OBS], second[Columns.OBS])
    assert not np.array_equal(first[Columns.ACTIONS], second[Columns.ACTIONS])


def test_a_local_runner_beside_remote_ones_has_no_worlds():
    """It holds the networks only, and says so when asked to sample."""
    runner = make(worker_index=0, num_workers=2)
    assert runner.env is None
    assert runner.get_worlds()["env"] is None
    with pytest.raises(RuntimeError, match="the local runner has no worlds"):
        runner.sample()


def test_errors_can_be_returned_instead_of_raised():
    """A remote runner reports what went wrong and lives on."""
    runner = make()
    runner.env.step = lambda actions: 1 / 0
    assert isinstance(runner.sample_or_error(round=0), ZeroDivisionError)
