"""Tests of PPO's settings: what follows from them, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from algorithms.pathwise import PathwiseConfig
from algorithms.ppo import PPO, PPOConfig
from algorithms.runner import BatchedEnvRunner
from algorithms.sac.sac import SACConfig
from envs.cue import CueTask


def config(**env):
    return PPOConfig().environment("cue", env_config=env)


def in_sequences(length):
    made = config()
    made.sequence = length
    return made


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (PPOConfig(), r"env: got None, allowed is a domain's name"),
        (
            PPOConfig().environment("chess"),
            r"domain: got 'chess', allowed are trading, supply_chain, resource_allocation, energy, workforce, spread",
        ),
        (config(num_agents=-1), r"env_config.num_agents: got -1, .*greater than or equal to 1"),
        (config(agents=3), r"env_config.agents: got 3, Extra inputs are not permitted"),
        (config().batched(task={"max_steps": 0}), r"task.max_steps: got 0"),
        (config().batched(task={"entities": 9}), r"entities: got 9, allowed is at most 3"),
        (config().batched(policies="mixed"), r"policies: got 'mixed', allowed are shared"),
        (config().batched(network={"kind": "deep"}), r"network.kind: got 'deep'"),
        (config().batched(network={"messages": "shout"}), r"network.messages: got 'shout'"),
        (
            config().batched(network={"messages": "mean"}, policies="per_agent"),
            r"network.messages: got mean with policies per_agent, allowed with shared and per_role",
        ),
        (
            PathwiseConfig().environment("supply_chain").batched(network={"messages": "attention"}),
            r"network.messages: got attention, allowed with ppo: other learners do not keep",
        ),
        (
            SACConfig().environment("cue").batched(network={"messages": "mean"}),
            r"network.messages: got mean, allowed with ppo: other learners do not keep",
        ),
        (
            SACConfig().environment("cue").batched(network={"memory": "gru"}),
            r"network.memory: got gru, allowed with ppo and qmix: other learners do not keep the steps of an",
        ),
        (
            PathwiseConfig().environment("supply_chain").batched(network={"memory": "gru"}),
            r"network.memory: got gru, allowed with ppo and qmix: other learners do not keep",
        ),
        (
            config().batched(network={"memory": "gru", "messages": "mean"}),
            r"memory: got gru with messages mean, allowed is one of the two",
        ),
        (in_sequences(7), r"sequence: got 7, allowed is a divisor of the 64 steps of a rollout"),
        (config().batched(total_envs=5).env_runners(num_env_runners=2), r"total_envs: got 5, allowed is a multiple"),
        (config().batched(torch_threads=0), r"torch_threads: got 0, allowed is an integer, 1 or more"),
        (config().batched(matmul_precision="low"), r"matmul_precision: got 'low', allowed are highest, high, medium"),
        (config().env_runners(num_envs_per_env_runner=1.5), r"num_envs_per_env_runner: got 1.5, allowed is an integer"),
        (config().training(gamma=1.5), r"gamma: got 1.5, allowed is 0 to 1"),
        (config().training(lambda_=-0.5), r"lambda_: got -0.5, allowed is 0 to 1"),
        (config().training(num_epochs=0), r"num_epochs: got 0, allowed is an integer, 1 or more"),
        (config().training(minibatch_size=10**6), r"minibatch_size: got 1000000, allowed is at most 2048"),
        (config().training(use_gae=False), r"use_critic, use_gae: got False, allowed is True"),
        (config().learners(num_learners=2), r"num_learners: got 2, allowed are 0, 1"),
        (config().debugging(seed=-1), r"seed: got -1, allowed is an integer, 0 or more"),
        (config().evaluation(evaluation_interval=1), r"evaluation_interval: got 1, allowed is None"),
    ],
)
def test_wrong_settings_are_named_in_one_line(wrong, message):
    """The line says which setting, what was given and what is allowed."""
    with pytest.raises(ValueError, match=message) as caught:
        wrong.validate()
    assert "\n" not in str(caught.value)


def test_users_need_to_set_nothing():
    """Runner, learner and algorithm are ours by default, and modules follow from the env."""
    settings = config(num_agents=3)
    settings.validate()
    assert settings.env_runner_cls is BatchedEnvRunner
    assert settings.algo_class is PPO
    assert set(settings.policies) == {"shared"}
    assert settings.train_batch_size_per_learner == 64 * 16 * 3
    assert settings.num_env_runners == 0


def test_modules_follow_the_mapping():
    """Every agent has its module under RLlib's own policy mapping too."""
    settings = config(num_agents=3).batched(policies="per_agent")
    settings.validate()
    assert set(settings.policies) == {"repeater_0", "repeater_1", "repeater_2"}
    assert settings.policy_mapping_fn("repeater_1", None) == "repeater_1"


def test_the_length_of_a_rollout_can_follow_from_the_batch():
    """With "auto", steps are chosen so that an iteration has about as many agent-steps as asked for."""
    settings = config(num_agents=4).env_runners(rollout_fragment_length="auto", num_env_runners=2)
    settings.training(train_batch_size_per_learner=16_000).batched(total_envs=100)
    settings.validate()
    assert settings.num_envs_per_env_runner == 50
    assert settings.rollout_steps() == 40


def test_typed_and_plain_values_are_the_same():
    """A task may be given as itself, or as its fields."""
    typed, plain = config().batched(task=CueTask(max_steps=7)), config().batched(task={"max_steps": 7})
    typed.validate()
    plain.validate()
    assert typed.task["max_steps"] == plain.task["max_steps"] == 7


def test_a_config_survives_rllibs_own_dictionary():
    """Tune hands configs on as dictionaries: nothing of ours gets lost."""
    settings = config(num_agents=3).batched(task={"max_steps": 7}, policies="per_agent", network={"kind": "flat"})
    again = PPOConfig().update_from_dict(settings.to_dict())
    again.validate()
    assert (again.task, again.policy_mode, again.network) == (settings.task, "per_agent", {"kind": "flat"})
    assert again.env_runner_cls is BatchedEnvRunner
    assert set(again.policies) == {"repeater_0", "repeater_1", "repeater_2"}


def test_defaults_fit_two_processors():
    """The main process, which Tune keeps room for, and the runners beside it need no more than a small machine has."""
    for runners in (0, 1):
        settings = config().env_runners(num_env_runners=runners)
        factory = PPO.default_resource_request(settings)
        main = sum(bundle.get("CPU", 0) for bundle in factory.bundles)
        assert main + runners * settings.num_cpus_per_env_runner <= 2


def test_agents_whose_names_are_no_file_names_cannot_have_a_module_each():
    """Checkpoints have a folder for each module, so a name with a slash in it is refused."""
    agents = [{"agent_id": "desk/1"}, {"agent_id": "desk/2"}]
    settings = PPOConfig().environment("trading", env_config={"agent_configs": agents})
    settings.validate()
    with pytest.raises(ValueError, match=r"policies: got 'per_agent' with the name 'desk/1', allowed are names fit"):
        settings.batched(policies="per_agent").validate()
