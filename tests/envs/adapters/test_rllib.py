"""Tests of the MultiAgentEnv, on its own and under RLlib's stock PPO."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.pre_checks.env import check_multiagent_environments

from envs.adapters.rllib import make_environment, register_envs
from envs.cue import CueEnv, CueTask
from envs.registry import domain_names

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("domain", domain_names())
def test_rllibs_own_check_accepts_the_env(domain: str, mode: str) -> None:
    """RLlib's pre-check of multi-agent envs finds nothing wrong."""
    check_multiagent_environments(make_environment(domain, {"action_mode": mode}))


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_one_agents_space_samples_an_action_for_each(mode: str) -> None:
    """Where all agents are alike, `action_space` and `observation_space` are one agent's, not a dictionary."""
    env = make_environment("cue", {"action_mode": mode, "task": {"max_steps": 5}})
    observations, _ = env.reset(seed=0)
    for _ in range(5):
        assert all(env.observation_space.contains(seen) for seen in observations.values())
        actions = {agent: env.action_space.sample() for agent in observations}
        observations, rewards, terminated, truncated, infos = env.step(actions)
        assert set(rewards) == set(infos) == set(observations) == set(env.possible_agents)
        assert set(terminated) == {*env.possible_agents, "__all__"}
    assert truncated["__all__"]
    assert not terminated["__all__"]
    assert env.agents == []


def test_a_task_can_be_set_by_its_fields_or_as_itself() -> None:
    """`set_task` takes plain values or a task, for the next reset; wrong keys and misfits are refused."""
    env = make_environment("cue", {"task": {"max_steps": 3}})
    env.reset(seed=0)
    for task, length in (({"max_steps": 1}, 1), (CueTask(max_steps=2), 2)):
        env.set_task(task)
        env.reset()
        ends = [env.step({a: env.action_space.sample() for a in env.agents})[3]["__all__"] for _ in range(length)]
        assert ends == [False] * (length - 1) + [True]
    with pytest.raises(ValidationError):
        env.set_task({"steps": 1})
    with pytest.raises(ValueError, match=r"^entities: got 9"):
        env.set_task({"entities": 9})


def test_config_and_task_are_told_apart() -> None:
    """`task` in the env's config holds the task's fields, the rest is the domain's config; wrong keys are refused."""
    env = make_environment("cue", {"num_agents": 3, "task": {"max_steps": 4}})
    assert isinstance(env.env, CueEnv)
    assert env.env.config.num_agents == 3
    assert env.env.tasks == [CueTask(max_steps=4)]
    with pytest.raises(ValidationError, match="max_steps"):
        make_environment("cue", {"max_steps": 4})
    with pytest.raises(ValueError, match=r"^domain: got 'nothing', allowed are"):
        make_environment("nothing")


def test_state_is_the_global_one() -> None:
    """`state()` is what a central critic would see, also at the end of an episode."""
    env = make_environment("cue", {"task": {"max_steps": 1}})
    env.reset(seed=0)
    np.testing.assert_array_equal(env.state(), env.env.observe().state[0])
    env.step({agent: env.action_space.sample() for agent in env.agents})
    assert env.state().shape == env.env.state_space.shape


def _train(env: str, env_config: dict[str, Any], num_envs: int = 1, **environment: Any) -> dict[str, Any]:
    """One small iteration of stock PPO with one shared policy."""
    register_envs()
    config = (
        PPOConfig()
        .environment(env, env_config=env_config, **environment)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs, rollout_fragment_length="auto")
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .multi_agent(policies={"all"}, policy_mapping_fn=lambda *_, **__: "all")
        .debugging(seed=0, log_level="ERROR")
    )
    algorithm = config.build_algo()
    try:
        results: dict[str, Any] = algorithm.train()
    finally:
        algorithm.stop()
    return results


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("domain", domain_names())
def test_stock_ppo_trains_on_every_registered_domain(domain: str, mode: str) -> None:
    """RLlib's PPO, nothing changed, finds the domain by name, samples whole episodes and learns from them."""
    results = _train(domain, {"action_mode": mode, "task": {"max_steps": 8}})
    assert results["env_runners"]["num_env_steps_sampled"] == 64
    assert results["env_runners"]["episode_len_mean"] == 8
    assert np.isfinite(results["env_runners"]["episode_return_mean"])
    assert np.isfinite(results["learners"]["all"]["total_loss"])


def test_rllib_takes_a_time_limit_for_a_truncation() -> None:
    """RLlib's episode counts those cut off as truncated, to be bootstrapped, and only the dead as terminated."""
    env = make_environment("cue", {"num_agents": 2, "task": {"max_steps": 3, "lifetimes": (2,)}})
    observations, infos = env.reset(seed=0)
    episode = MultiAgentEpisode()
    episode.add_env_reset(observations=observations, infos=infos)
    while env.agents:
        actions = {agent: env.action_space.sample() for agent in env.agents}
        observations, rewards, terminated, truncated, infos = env.step(actions)
        episode.add_env_step(observations, actions, rewards, infos, terminateds=terminated, truncateds=truncated)
    assert episode.is_truncated
    assert not episode.is_terminated
    ends = {agent: (one.is_terminated, one.is_truncated) for agent, one in episode.agent_episodes.items()}
    assert ends == {"repeater_0": (True, False), "repeater_1": (False, True)}


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("normalize", [True, False])
def test_stock_ppo_stays_within_bounds_and_counts_the_living(normalize: bool) -> None:
    """Unsquashing or clipping keeps a Gaussian within the bounds the env insists on; the dead take no steps."""
    task = {"max_steps": 8, "lifetimes": (2, 6), "agents": 3}
    switches = {"normalize_actions": normalize, "clip_actions": not normalize}
    results = _train("cue", {"num_agents": 4, "task": task}, 2, **switches)["env_runners"]
    # 64 env steps are 8 episodes, and in each the three agents live for 2, 6 and 8 steps; the fourth takes no part.
    taken = {
        agent: count / results["num_env_steps_sampled"] for agent, count in results["num_agent_steps_sampled"].items()
    }
    assert taken == {"repeater_0": 2 / 8, "repeater_1": 6 / 8, "repeater_2": 1.0}


def _learns(config: AlgorithmConfig) -> dict[str, Any]:
    """Trains for one small iteration; returns the results of the one network, which must have learned something."""
    config.env_runners(num_env_runners=0, rollout_fragment_length=8).debugging(seed=0, log_level="ERROR")
    config.rl_module(model_config={"fcnet_hiddens": [16], "head_fcnet_hiddens": [16]})
    algorithm = config.build_algo()
    try:
        results: dict[str, Any] = algorithm.train()["learners"]["team"]
    finally:
        algorithm.stop()
    assert np.isfinite([value for name, value in results.items() if name.endswith("loss")]).all()
    return results


@pytest.mark.usefixtures("ray_local")
def test_what_the_readme_says_can_be_typed() -> None:
    """Its lines for stock RLlib give a configuration that trains."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (typed,) = [block for block in blocks if "register_envs" in block]
    names: dict[str, Any] = {}
    exec(typed, names)
    config = names["config"].training(train_batch_size=32, minibatch_size=16, num_epochs=1)
    assert "total_loss" in _learns(config)


@pytest.mark.usefixtures("ray_local")
def test_an_env_taken_for_a_single_agents_says_what_to_type() -> None:
    """Without `.multi_agent` RLlib has no place for a team's observations: the error says what is missing."""
    register_envs()
    config = PPOConfig().environment("cue").env_runners(num_env_runners=0).debugging(log_level="ERROR")
    with pytest.raises(ValueError, match=r'^multi_agent: got nothing, .* such as \.multi_agent\(policies=\{"team"\}'):
        _learns(config)


OFF_POLICY = {
    "num_steps_sampled_before_learning_starts": 16,
    "train_batch_size_per_learner": 8,
    "replay_buffer_config": {"type": "MultiAgentEpisodeReplayBuffer", "capacity": 100_000},
}
"""What the adapter's docstring says of replay buffers, and little to do."""


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    ("kind", "env_config"), [(SACConfig, {}), (DQNConfig, {"action_mode": "discrete", "flat_actions": True})]
)
@pytest.mark.parametrize(
    ("domain", "more"),
    [
        ("trading", {"task": {"max_steps": 8}}),
        ("cue", {"num_agents": 3, "task": {"max_steps": 8, "lifetimes": (2, 6)}}),
    ],
)
def test_stock_sac_and_dqn_train(
    kind: type[SACConfig | DQNConfig], env_config: dict[str, Any], domain: str, more: dict[str, Any]
) -> None:
    """With the settings in the adapter's docstring both learn, also where agents leave early."""
    register_envs()
    config = kind().environment(domain, env_config=env_config | more).training(**OFF_POLICY)
    config.multi_agent(policies={"team"}, policy_mapping_fn=lambda *_, **__: "team")
    results = _learns(config.reporting(min_sample_timesteps_per_iteration=24))
    assert "qf_loss" in results


@pytest.mark.usefixtures("ray_local")
def test_without_either_switch_the_env_refuses_what_is_out_of_bounds() -> None:
    """A Gaussian that nobody keeps within bounds is told so by the env, and not clipped in silence."""
    with pytest.raises(RuntimeError) as error:
        _train("cue", {}, normalize_actions=False, clip_actions=False)
    reason = error.value.__cause__ or error.value.__context__
    assert isinstance(reason, ValueError)
    assert "got values from" in str(reason)
    assert str(reason).endswith("allowed is -1 to 1")
