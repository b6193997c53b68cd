"""Tests of PPO as users meet it: it learns, on local and on remote runners, and survives their death."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback

from algorithms.ppo import PPOConfig
from envs.cue import CueTask
from envs.registry import get_domain
from policies.rollout import play

pytestmark = pytest.mark.usefixtures("ray_local")


def configure(*, runners=0, worlds=8, steps=16, env=None, **batched):
    return (
        PPOConfig()
        .environment("cue", env_config=env or {})
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=worlds,
            rollout_fragment_length=steps,
            num_cpus_per_env_runner=0.5,
        )
        .training(minibatch_size=64, num_epochs=2)
        .batched(**batched)
    )


def weights(algorithm):
    return algorithm.learner_group.get_weights()


def assert_same_weights(first, second):
    for module_id, tensors in weights(first).items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(weights(second)[module_id][name], tensor)


def learns(algorithm, iterations=40):
    """Trains until the mean return is 0.9 of the optimum, 10."""
    return any(algorithm.train()["env_runners"]["episode_return_mean"] > 9 for _ in range(iterations))


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_it_learns_the_cue(build, mode):
    """In seconds it comes to nine tenths of the optimum, sampled, and closer still when it takes its best guess."""
    algorithm = build(
        configure(worlds=32, steps=20, env={"action_mode": mode}).training(
            lr=5e-3, gamma=0.5, minibatch_size=256, num_epochs=6
        )
    )
    assert learns(algorithm)
    env = get_domain("cue").env({"action_mode": mode}, 16)
    played = play(env, algorithm.as_policy(), CueTask(), seed=1)
    assert played.returns.mean() > 9


@pytest.mark.parametrize("policies", ["shared", "per_role", "per_agent"])
def test_every_mapping_learns(build, policies):
    """Whoever shares a network with whom, all networks learn."""
    algorithm = build(
        configure(worlds=32, steps=20, policies=policies).training(lr=5e-3, gamma=0.5, minibatch_size=128, num_epochs=6)
    )
    before = weights(algorithm)
    assert learns(algorithm)
    for module_id, tensors in weights(algorithm).items():
        assert not np.array_equal(tensors["value_head.weight"], before[module_id]["value_head.weight"])


def test_a_central_critic_reads_the_state(build):
    """MAPPO: values move with the global state, actions do not, and it learns."""
    import torch

    algorithm = build(
        configure(worlds=32, steps=20, network={"central_critic": True}).training(
            lr=5e-3, gamma=0.5, minibatch_size=256, num_epochs=6
        )
    )
    assert learns(algorithm)
    module = algorithm.env_runner.module["shared"]
    batch = {
        "obs": torch.rand(5, module.layout.size),
        "action_mask": torch.ones(5, 3, dtype=torch.bool),
        "state": torch.rand(5, 6),
    }
    other = {**batch, "state": torch.rand(5, 6)}
    (first, value), (second, other_value) = map(module.forward_policy_and_value, (batch, other))
    assert torch.equal(first, second)
    assert (value - other_value).abs().min() > 0


class Curriculum(RLlibCallback):
    """Sets a task before anything is played."""

    def on_algorithm_init(self, *, algorithm, **kwargs):
        """Called when the algorithm is complete."""
        algorithm.set_tasks([CueTask(name="first", max_steps=4)])


def test_callbacks_can_set_the_first_task(build):
    """A task set when the algorithm is made is played from the first episode on."""
    algorithm = build(configure().callbacks(Curriculum))
    algorithm.train()
    assert {record.task for record in algorithm.finished_episodes} == {"first"}


@pytest.fixture(scope="module")
def pair(ray_local):
    """One algorithm with two remote runners, which take seconds to start; tests say which tasks they play."""
    algorithm = configure(runners=2, task={"name": "easy", "max_steps": 8}).build_algo()
    yield algorithm
    algorithm.stop()


@pytest.fixture(scope="module")
def single(ray_local):
    """One algorithm with one remote runner."""
    algorithm = configure(runners=1).build_algo()
    yield algorithm
    algorithm.stop()


def test_a_remote_runner_gives_the_same_weights_as_the_local_one(build, single):
    """Where sampling happens changes nothing, to the bit."""
    local = build(configure())
    for _ in range(3):
        local.train()
        single.train()
    assert_same_weights(local, single)
    assert single.env_runner.env is None


def test_training_reports_what_happened(pair):
    """Steps, returns by task, losses and rates are all in the result, under plain names."""
    for _ in range(2):
        result = pair.train()
    runners = result["env_runners"]
    assert runners["num_env_steps_sampled"] == 2 * 8 * 16
    assert runners["num_env_steps_sampled_lifetime"] == 2 * 2 * 8 * 16
    assert result["num_agent_steps_sampled_lifetime"] == 2 * 2 * 2 * 8 * 16
    assert result["agent_steps_per_s"] > 0
    assert runners["num_episodes"] == len(pair.finished_episodes) == 2 * 8 * 2
    assert runners["episode_len_mean"] == result["tasks"]["easy"]["episode_len_mean"] == 8
    mean = np.mean([record.mean_return for record in pair.finished_episodes])
    assert runners["episode_return_mean"] == pytest.approx(mean)
    for name in ("policy_loss", "vf_loss", "entropy", "mean_kl_loss", "vf_explained_var", "curr_kl_coeff"):
        assert np.isfinite(result["learners"]["shared"][name])


def test_tasks_reach_all_runners(pair):
    """Tasks set on the algorithm are played by the worlds of all runners, in turn."""
    pair.set_tasks([CueTask(name=name, max_steps=4) for name in ("a", "b")])
    pair.train()  # ends the episodes at hand
    pair.train()
    assert sorted(record.task for record in pair.finished_episodes) == ["a"] * 32 + ["b"] * 32


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "tasks: got none, allowed is one or more"),
        ([CueTask(entities=9)], "entities: got 9, allowed is at most 3"),
        (["hard"], "tasks: got str, allowed is CueTask"),
    ],
)
def test_impossible_tasks_are_refused_before_any_runner_sees_them(pair, tasks, message):
    """A runner would die of them; the algorithm says in one line what is wrong, and plays on."""
    with pytest.raises(ValueError, match=message):
        pair.set_tasks(tasks)
    assert pair.train()["fault_tolerance"]["num_remote_worker_restarts"] == 0


def pids(algorithm):
    return algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)


@pytest.mark.slow
def test_training_survives_the_death_of_a_runner(pair):
    """After `kill -9` of one of two runners training goes on, and the new one has weights and tasks like the other."""
    pair.set_tasks([CueTask(name="stage 2", max_steps=4)])
    pair.train()  # ends the episodes at hand
    before = pids(pair)
    os.kill(before[0], signal.SIGKILL)
    iterations, deadline = 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        result = pair.train()
        iterations += 1
        assert {record.task for record in pair.finished_episodes} == {"stage 2"}
        restored = pair._counters["total_num_restored_workers"]
        if restored and result["env_runners"]["num_env_steps_sampled"] == 2 * 8 * 16:
            break
    else:
        pytest.fail("the runner did not come back")
    assert iterations > 1
    after = pids(pair)
    assert len(after) == 2
    assert set(after) & set(before) == {before[1]}
    states = pair.env_runner_group.foreach_env_runner(lambda runner: runner.module.get_state(), local_env_runner=False)
    for state in states:
        for name, tensor in weights(pair)["shared"].items():
            np.testing.assert_array_equal(state["shared"][name], tensor)


@pytest.mark.slow
def test_training_survives_the_death_of_its_only_runner(single):
    """With nobody left to sample, the iteration waits for the runner to come back instead of failing."""
    single.set_tasks([CueTask(name="stage 2", max_steps=4)])
    single.train()
    [pid] = pids(single)
    os.kill(pid, signal.SIGKILL)
    result = single.train()
    assert result["env_runners"]["num_env_steps_sampled"] == 8 * 16
    assert {record.task for record in single.finished_episodes} == {"stage 2"}


def test_what_a_runner_raises_is_raised_here(single):
    """A fault in an env ends training with the env's own message, rather than killing runners for ever."""

    def break_env(runner):
        def step(actions):
            raise ValueError("the market is closed")

        runner.env.step = step

    single.env_runner_group.foreach_env_runner(break_env, local_env_runner=False)
    with pytest.raises(ValueError, match="the market is closed"):
        single.train()
