"""One contender of `benchmarks.sampling`: samples trading until asked how fast it went."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.contender import options, serve
from benchmarks.stepping import pace, stepped


def main(*, kind: str, agents: int, seconds: float, worlds: int, steps: int) -> None:
    """Serves figures in agent-steps a second.

    Args:
        kind: `flat` and `default`: our runner, with either network; `stock`: RLlib's; `env`: the env alone.
        agents: Traders in the market.
        seconds: Least time of a measurement.
        worlds: Worlds, or copies of the env.
        steps: Steps of a rollout in each of them.
    """
    torch.set_num_threads(1)
    env_config = {"num_agents": agents}
    if kind == "env":
        play = env_alone(env_config, worlds, steps)
    elif kind == "stock":
        play = stock_runner(env_config, worlds, steps)
    else:
        play = batched_runner(env_config, worlds, steps, flat=kind == "flat")
    play()  # the first rollout allocates and resets

    serve(partial(pace, play, seconds))


def batched_runner(env_config: dict[str, Any], worlds: int, steps: int, *, flat: bool) -> Callable[[], int]:
    """Our runner, values and advantages included."""
    from algorithms.runner import BatchedEnvRunner
    from benchmarks.setups import batched, flat_network

    config = batched("trading", env_config, worlds=worlds, steps=steps, network=flat_network() if flat else {})
    config.training(minibatch_size=1)
    config.validate()
    runner = BatchedEnvRunner(config=config)
    return lambda: runner.sample().agent_steps()


def stock_runner(env_config: dict[str, Any], worlds: int, steps: int) -> Callable[[], int]:
    """RLlib's multi-agent runner, which computes no values."""
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    from benchmarks.setups import stock

    config = stock("trading", env_config, envs=worlds, env_steps=worlds * steps)
    runner = MultiAgentEnvRunner(config=config, worker_index=0, num_workers=0)

    def play() -> int:
        episodes = runner.sample(num_timesteps=worlds * steps)
        runner.get_metrics()
        return sum(int(episode.agent_steps()) for episode in episodes)

    return play


def env_alone(env_config: dict[str, Any], worlds: int, steps: int) -> Callable[[], int]:
    """The env under random targets that were drawn beforehand."""
    from envs.registry import get_domain

    env = get_domain("trading").env(env_config, worlds)
    env.reset(0)
    return stepped(env, steps)


if __name__ == "__main__":
    main(**options(sys.argv))
