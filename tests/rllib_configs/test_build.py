"""Every setting reaches RLlib under the name it has there."""

from __future__ import annotations

import math

import pytest

from rllib_configs.build import build_algorithm_config, check_algorithm
from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load


def test_settings_arrive() -> None:
    """Values that differ from all defaults are found again in RLlib's configuration."""
    config = load(
        "cue",
        overrides=[
            "seed=11",
            "env.num_agents=3",
            "task.max_steps=6",
            "policies=per_agent",
            "runners={num_env_runners: 1, worlds: 8, rollout_length: 12}",
            "network.kind=flat",
            "ppo={lr: 0.002, gamma: 0.8, gae_lambda: 0.7, clip: 0.3, value_clip: 9, value_weight: 0.4}",
            "ppo={entropy_weight: 0.02, kl_weight: 0.1, kl_target: 0.03, epochs: 2, minibatch: 24, grad_clip: null}",
            "ppo.multiplier={integral: 0.3, exam_every: 7}",
            "resources.restart_delay=0.5",
        ],
    )
    built = build_algorithm_config(config)
    built.validate()
    assert (built.env, built.env_config["num_agents"], built.task["max_steps"]) == ("cue", 3, 6)
    assert (built.num_env_runners, built.num_envs_per_env_runner, built.rollout_fragment_length) == (1, 8, 12)
    assert (built.policy_mode, built.network["kind"], built.seed) == ("per_agent", "flat", 11)
    assert (built.lr, built.gamma, built.lambda_, built.clip_param) == (0.002, 0.8, 0.7, 0.3)
    assert (built.vf_clip_param, built.vf_loss_coeff, built.entropy_coeff) == (9, 0.4, 0.02)
    assert (built.use_kl_loss, built.kl_coeff, built.kl_target) == (True, 0.1, 0.03)
    assert (built.num_epochs, built.minibatch_size, built.grad_clip) == (2, 24, None)
    assert (built.multiplier["integral"], built.multiplier["exam_every"], built.limits) == (0.3, 7, {})
    assert built.delay_between_env_runner_restarts_s == 0.5
    assert sorted(built.policies) == ["repeater_0", "repeater_1", "repeater_2"]


def test_settings_that_do_not_go_together_are_told_by_our_names() -> None:
    """32 worlds, 20 steps and 2 agents make 1280 agent-steps: no minibatch is larger."""
    check_algorithm(load("cue", overrides=["ppo.minibatch=1280"]))
    with pytest.raises(ConfigError, match=r"^ppo\.minibatch: got 1281, allowed is at most 1280"):
        check_algorithm(load("cue", overrides=["ppo.minibatch=1281"]))


def test_limits_are_told_by_the_names_of_costs() -> None:
    """A limit is set by its dotted path; one on what the env does not count is refused, with those that it does."""
    config = load("resource_allocation", overrides=["ppo.limits.late=5", "env.tenants=8"])
    assert build_algorithm_config(config).limits == {"late": 5.0}
    check_algorithm(config)
    with pytest.raises(ConfigError, match=r"^ppo\.limits: got 'lost', allowed are late"):
        check_algorithm(load("resource_allocation", overrides=["ppo.limits={lost: 5}"]))
    with pytest.raises(ConfigError, match=r"ppo\.limits\.late"):
        load("resource_allocation", overrides=["ppo.limits.late=0"])


def test_null_switches_off() -> None:
    """No bound on the value's error and no penalty are what RLlib understands by them."""
    built = build_algorithm_config(load("cue"))
    assert math.isinf(built.vf_clip_param)
    assert built.use_kl_loss is False


def test_the_curriculum_calls_back_first() -> None:
    """Figures and evaluations read what the curriculum reports, so it comes before them."""

    def other() -> None:
        """Stands for a callback."""

    built = build_algorithm_config(load("trading"), [other])
    first, second = built.callbacks_class
    assert first.func.__name__ == "CurriculumCallback"
    assert second is other
