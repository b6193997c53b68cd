"""One contender of `benchmarks.off_policy`: steps worlds and learns until asked how fast it went."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import ray

from benchmarks.contender import options, serve

HIDDEN = (64, 64)
WORLDS, STEPS = 32, 32
"""Worlds of ours that are stepped together, and steps of an iteration in each."""
STEPS_SAMPLED = ("env_runners", "num_env_steps_sampled_lifetime")


def main(*, kind: str, batch: int = 256, rate: int = 32, seconds: float = 8.0, crowd: int = 0) -> None:
    """Serves figures in env steps a second, or of memory.

    Args:
        kind: An algorithm of ours by name, or `stock_sac` or `stock_dqn`.
        batch: Transitions of an update.
        rate: Env steps between two updates.
        seconds: Least time of a measurement.
        crowd: So many traders learn until their replay is full, and its size [MiB] is served.
    """
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        configure_logging=False,
    )  # fmt: skip
    if crowd:
        serve(partial(filled, kind, crowd))
        ray.shutdown()
        return
    config = stock(kind, batch, rate) if kind.startswith("stock") else ours(kind, batch, rate)
    algorithm = config.build_algo()
    while algorithm.metrics.peek(STEPS_SAMPLED, default=0) < 2_048:  # until all learn at their pace
        algorithm.train()

    def measure() -> float:
        first, start = algorithm.metrics.peek(STEPS_SAMPLED), time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            algorithm.train()
        return float(algorithm.metrics.peek(STEPS_SAMPLED) - first) / passed

    serve(measure)
    algorithm.stop()
    ray.shutdown()


def filled(kind: str, agents: int) -> float:
    """Trains traders until the replay is full; what it takes [MiB]."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    seldom = {f"{kind}.steps_per_update": 2_048}  # what an update takes does not grow with their number
    values = {"env.num_agents": agents, "evaluation.interval": 0, "tracking.enabled": False, **seldom}
    algorithm = algorithm_config(load("trading", kind, values=values)).build_algo()
    while not algorithm.replay.size or (algorithm.replay.filled < algorithm.replay.size).any():
        algorithm.train()
    algorithm.stop()
    return float(algorithm.replay.nbytes) / 2**20


def ours(kind: str, batch: int, rate: int) -> Any:
    """One of our algorithms."""
    from algorithms.registry import get_algorithm, resolve

    config = resolve(get_algorithm(kind).algorithm).get_default_config()
    config.environment("spread", env_config={"action_mode": "discrete" if kind == "qmix" else "continuous"})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=WORLDS, rollout_fragment_length=STEPS)
    std = "network" if kind == "sac" else "free"
    config.batched(network={"kind": "flat", "hidden_sizes": HIDDEN, "activation": "relu", "std": std})
    if kind == "maddpg":
        config.critic_sizes = HIDDEN
    config.batch, config.steps_per_update, config.learn_from, config.replay_frames = batch, rate, 1_000, 100_000
    return config


def stock(kind: str, batch: int, rate: int) -> Any:
    """RLlib's SAC or DQN: an update after every `rate` steps of one env, from a buffer as large as ours."""
    from ray.rllib.algorithms.dqn import DQNConfig
    from ray.rllib.algorithms.sac import SACConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    from envs.adapters.rllib import register_envs

    register_envs()
    discrete = kind == "stock_dqn"
    fields = {"action_mode": "discrete", "flat_actions": True} if discrete else {"action_mode": "continuous"}
    model = DefaultModelConfig(
        fcnet_hiddens=list(HIDDEN), fcnet_activation="relu", head_fcnet_hiddens=[], head_fcnet_activation="relu"
    )
    return (
        (DQNConfig() if discrete else SACConfig())
        .environment("spread", env_config=fields)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=1, rollout_fragment_length=rate)
        .training(
            train_batch_size_per_learner=batch,
            num_steps_sampled_before_learning_starts=1_000,
            training_intensity=None,
            replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer", "capacity": 100_000},
        )
        .reporting(min_time_s_per_iteration=None, min_sample_timesteps_per_iteration=10 * rate)
        .multi_agent(policies={"team"}, policy_mapping_fn=everyone)
        .rl_module(model_config=model)
        .debugging(log_level="ERROR")
    )


def everyone(*args: Any, **kwargs: Any) -> str:
    """All agents play with one network."""
    return "team"


if __name__ == "__main__":
    main(**options(sys.argv))
