"""Tests that a restored run goes on as if it had never stopped, to the bit."""

from __future__ import annotations

import copy
import logging

import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback

from algorithms.ppo import PPO, PPOConfig
from envs.cue import CueTask
from tests.algorithms.equality import assert_equal

pytestmark = pytest.mark.usefixtures("ray_local")

REMEMBERING = {"memory": "gru", "memory_width": 8, "share_trunk": False}


class Promoter(RLlibCallback):
    """Sets a harder task after two iterations, and counts iterations by itself."""

    def __init__(self):
        self.count = 0

    def on_train_result(self, *, algorithm, **kwargs):
        """Called after every iteration."""
        self.count += 1
        if self.count == 2:
            algorithm.set_tasks([CueTask(name="two", entities=3), CueTask(name="three", max_steps=7)])

    def get_state(self):
        """What a checkpoint holds of it."""
        return {"count": self.count}

    def set_state(self, state):
        """Restores it."""
        self.count = state["count"]


def configure(runners=0, worlds=6, network=None):
    return (
        PPOConfig()
        .environment("cue")
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=worlds,
            rollout_fragment_length=13,
            num_cpus_per_env_runner=0.5,
        )
        .training(
            lr=[[0, 3e-3], [1000, 1e-4]],
            entropy_coeff=[[0, 0.05], [1000, 0.0]],
            kl_coeff=0.5,
            minibatch_size=32,
            num_epochs=2,
        )
        .callbacks(Promoter)
        .batched(task={"lifetimes": (8,)}, network=network or {})
    )


@pytest.fixture
def stopping():
    """Takes algorithms in, and stops them in the end."""
    taken = []

    def take(algorithm):
        taken.append(algorithm)
        return algorithm

    yield take
    for algorithm in taken:
        algorithm.stop()


def summary(algorithm):
    """What must agree: all weights and statistics, KL coefficients, counts, tasks, and what callbacks remember."""
    state = algorithm.get_state()
    learner = state["learner_group"]["learner"]
    return {
        "weights": learner["rl_module"],
        "optimizer": learner["optimizer"],
        "kl": learner["kl_coefficients"],
        "run": state["run"],
        "iteration": state["training_iteration"],
        "steps": algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime")),
    }


@pytest.mark.parametrize(
    ("runners", "into", "network"),
    [
        (0, "another", {}),
        (0, "from_checkpoint", {}),
        (0, "another", REMEMBERING),
        pytest.param(2, "from_checkpoint", REMEMBERING, marks=pytest.mark.slow),
    ],
)
def test_three_and_three_iterations_are_six(stopping, tmp_path, runners, into, network):
    """Saved after three iterations and restored elsewhere, a run goes the way that it went from there."""
    first = stopping(configure(runners, network=network).build_algo())
    for _ in range(3):
        first.train()
    path = first.save_to_path(tmp_path / "checkpoint")
    for _ in range(3):
        expected = first.train()
    if into == "from_checkpoint":
        second = stopping(PPO.from_checkpoint(path))
    else:
        second = stopping(configure(runners, network=network).build_algo())
        second.train()  # what it did before does not matter
        second.restore_from_path(path)
    for _ in range(3):
        found = second.train()
    assert_equal(summary(first), summary(second))
    for key in ("episode_return_mean", "num_env_steps_sampled_lifetime", "episode_len_mean"):
        assert found["env_runners"][key] == expected["env_runners"][key]
    assert found["training_iteration"] == 6
    assert second.callbacks[0].count == 6


def test_saving_does_not_change_the_run(stopping, tmp_path):
    """A run that saves at every iteration ends where one that never does."""
    quiet, saving = stopping(configure().build_algo()), stopping(configure().build_algo())
    for number in range(3):
        quiet.train()
        saving.train()
        saving.save_to_path(tmp_path / str(number))
    assert_equal(summary(quiet), summary(saving))


def test_a_state_restores_an_algorithm_that_has_got_further(stopping):
    """`set_state` turns the clock back, weights included."""
    algorithm = stopping(configure().build_algo())
    algorithm.train()
    state = copy.deepcopy(algorithm.get_state())
    before = copy.deepcopy(summary(algorithm))
    ends = []
    for _ in range(2):
        algorithm.train()
        algorithm.train()
        ends.append(copy.deepcopy(summary(algorithm)))
        algorithm.set_state(state)
        assert_equal(summary(algorithm), before)
    assert_equal(*ends)


def test_tunes_own_save_and_restore_carry_everything(stopping, tmp_path):
    """`Trainable.save` and `restore`, which Tune calls, are the same checkpoint."""
    first = stopping(configure().build_algo())
    first.train()
    saved = first.save(str(tmp_path / "checkpoint"))
    second = stopping(configure().build_algo())
    second.restore(saved.checkpoint.path)
    first.train()
    second.train()
    assert_equal(summary(first), summary(second))


def test_a_run_resumed_with_other_worlds_keeps_what_it_learned(stopping, tmp_path, caplog):
    """Weights, tasks and counts go on; the worlds begin new episodes, and a warning says so."""
    first = stopping(configure(worlds=6).build_algo())
    for _ in range(2):
        first.train()
    path = first.save_to_path(tmp_path / "checkpoint")
    second = stopping(configure(worlds=9).build_algo())
    with caplog.at_level(logging.WARNING):
        second.restore_from_path(path)
    assert "other runners or worlds" in caplog.text
    assert_equal(summary(first)["weights"], summary(second)["weights"])
    second.train()
    assert {record.task for record in second.finished_episodes} <= {"two", "three"}
    assert second.iteration == 3
