"""Tests of PPO within limits as users meet it: it ends at them, goes on after a restart, and says what is wrong."""

from __future__ import annotations

import sys
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from algorithms.constraints import MULTIPLIER
from algorithms.ppo import PPO, PPOConfig
from envs.registry import get_domain
from policies.rollout import play
from rllib_configs.overrides import load

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))
from bandit import BanditTask

pytestmark = pytest.mark.usefixtures("ray_local")
LIMIT = 0.25


def configure(limits, *, env=None, multiplier=None, worlds=16, steps=16, **training):
    config = (
        PPOConfig()
        .environment("bandit:DOMAIN", env_config=env or {})
        .env_runners(num_envs_per_env_runner=worlds, rollout_fragment_length=steps)
        .training(**{"minibatch_size": 128, "num_epochs": 4, "lr": 0.005, "gamma": 0.0, **training})
        .batched(network={"hidden_sizes": (8,), "initial_log_std": -1.5})
    )
    config.limits, config.multiplier = limits, {**MULTIPLIER, "exam_every": 2, **(multiplier or {})}
    return config


def played(algorithm, *, mode="continuous", deterministic=True):
    """Mean cost of the policy as it stands."""
    env = get_domain("bandit:DOMAIN").env({"action_mode": mode}, 64)
    found = play(env, algorithm.as_policy(), BanditTask(), seed=9, episodes_per_world=4, deterministic=deterministic)
    return found.metrics["cost_square"].mean()


def mean_over_last(algorithm, iterations, last, **how):
    """Means over the last iterations, while policy and multiplier wander around their optimum: cost and multiplier."""
    costs, multipliers = [], []
    for iteration in range(iterations):
        result = algorithm.train()
        if iteration >= iterations - last:
            costs.append(played(algorithm, **how))
            multipliers.append(result["multiplier"]["square"])
    return np.mean(costs), np.mean(multipliers)


def test_the_policy_ends_at_its_limit_and_the_multiplier_at_its_dual(build):
    """Where `a` earns `a` and costs `a^2`, the cost without exploration ends within 2% of the limit, at its dual."""
    schedule = [[0, 0.01], [256 * 25, 0.005], [256 * 60, 0.0005]]  # an iteration has 256 steps
    algorithm = build(configure({"square": LIMIT}, lr=schedule))
    cost, multiplier = mean_over_last(algorithm, 65, 15)
    assert cost == pytest.approx(LIMIT, rel=0.02)
    assert multiplier == pytest.approx(1 / (2 * sqrt(LIMIT)), rel=0.1)


def test_without_exams_it_is_the_policy_that_explores(build):
    """Also with choices: what is sampled ends at the limit."""
    gains = {"integral": 0.1, "exam_every": 0}
    algorithm = build(configure({"square": LIMIT}, env={"action_mode": "discrete"}, multiplier=gains))
    cost, _ = mean_over_last(algorithm, 70, 25, mode="discrete", deterministic=False)
    assert cost == pytest.approx(LIMIT, rel=0.05)


def test_a_limit_that_is_kept_anyway_changes_nothing(build):
    """A cost that is always 0 has no multiplier, and the policy goes on to where others' limits would stop it."""
    algorithm = build(configure({"none": 0.1}, num_epochs=8, lr=0.02))
    for _ in range(25):
        result = algorithm.train()
    assert result["multiplier"]["none"] == result["cost"]["none"] == 0.0
    assert played(algorithm) > 2 * LIMIT


def test_only_the_first_task_moves_the_multipliers(build):
    """Rehearsed tasks are played and paid for, but limits hold for the one that is learned."""
    algorithm = build(configure({"square": 0.1}, multiplier={"exam_every": 0}))
    before = algorithm.train()["multiplier"]
    algorithm.set_tasks([BanditTask(name="long", max_steps=4), BanditTask(name="short")])
    result = algorithm.train()
    by_task = {
        name: np.mean([r.metrics["cost_square"] for r in algorithm.finished_episodes if r.task == name])
        for name in ("long", "short")
    }
    assert by_task["long"] > 0.1 > by_task["short"]
    assert result["cost"]["square"] == pytest.approx(by_task["long"])
    assert result["multiplier"]["square"] > before["square"]


@pytest.mark.parametrize("into", ["another", "from_checkpoint"])
def test_a_resumed_run_is_the_uninterrupted_one(build, tmp_path, into):
    """Saved in the middle, restored elsewhere: multipliers, critics and policies go the same way, to the bit."""
    config = configure({"square": LIMIT, "none": 1.0}, multiplier={"first": 0.3, "derivative": 0.1}, lr=0.02)
    first = build(config.copy(copy_frozen=False))
    for _ in range(3):
        first.train()
    path = first.save_to_path(tmp_path / "checkpoint")
    for _ in range(3):
        first.train()
    if into == "another":
        second = build(config.copy(copy_frozen=False))
        second.train()  # what it did before does not matter
        second.restore_from_path(path)
    else:
        second = PPO.from_checkpoint(path)
    for _ in range(3):
        second.train()
    assert second.own_state() == first.own_state()
    assert first.own_state()["multipliers"]["values"] != [0.3, 0.3]
    for name, tensor in first.learner_group.get_weights()["shared"].items():
        np.testing.assert_array_equal(tensor, second.learner_group.get_weights()["shared"][name])
    if into == "from_checkpoint":
        second.stop()


@pytest.mark.slow
def test_limits_hold_over_all_remote_runners(build):
    """Two runners' worlds are one run's: the cost is the mean of both, and the multiplier the one of a local run."""

    def allocation(runners):
        config = (
            PPOConfig()
            .environment("resource_allocation", env_config={"tenants": 2, "slots": 2})
            .env_runners(
                num_env_runners=runners,
                num_envs_per_env_runner=8 // max(runners, 1),
                rollout_fragment_length=10,
                num_cpus_per_env_runner=0.5,
            )
            .training(minibatch_size=80)
            .batched(task={"max_steps": 10, "load": 3.0})
        )
        config.limits = {"late": 0.01}
        config.multiplier = {**MULTIPLIER, "exam_episodes": 4}
        return build(config)

    remote, local = allocation(2), allocation(0)
    for algorithm in (remote, local):
        for _ in range(2):
            result = algorithm.train()
        costs = [record.metrics["cost_late"] for record in algorithm.finished_episodes]
        assert len(costs) == 8
        assert result["cost_sampled"]["late"] == pytest.approx(np.mean(costs))
        assert result["multiplier"]["late"] > 0


@pytest.mark.parametrize(
    ("domain", "limits", "message"),
    [
        ("bandit:DOMAIN", {"square": 0.2, "late": 1.0}, r"limits: got 'late', allowed are none, square"),
        ("cue", {"late": 1.0}, r"limits: got 'late', allowed are none: this env counts no costs"),
    ],
)
def test_unknown_costs_are_refused(domain, limits, message):
    """In one line that names those there are."""
    config = configure(limits).environment(domain, env_config={})
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_wrong_settings_are_refused():
    """In one line that names the key."""
    with pytest.raises(ValueError, match=r"multiplier\.integral: got 0"):
        configure({"square": 1.0}, multiplier={"integral": 0}).validate()


def test_both_ways_to_a_config_agree():
    """Whoever makes a config in Python has the multipliers' settings that the YAML files have."""
    assert load("cue").settings.multiplier.model_dump() == MULTIPLIER
