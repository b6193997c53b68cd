"""Stable-Baselines3's PPO on the same worlds, which its `VecEnv` steps as one batch; runs in `.venv-bench`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.contender import options, serve
from envs.registry import get_domain


class BatchedVecEnv(VecEnv):
    """Every agent of every world is one env to Stable-Baselines3.

    Args:
        num_agents: Traders in each market.
        worlds: Worlds.
    """

    def __init__(self, num_agents: int, worlds: int) -> None:
        self._env = get_domain("trading").env({"num_agents": num_agents}, worlds)
        [self._group] = self._env.groups.values()
        self._actions: np.ndarray[Any, Any] | None = None
        assert isinstance(self._group.action_space, Box)
        super().__init__(worlds * num_agents, self._group.observation_space, self._group.action_space)

    def _rows(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Agents of all worlds as one axis, in an array that lasts."""
        return array.reshape(self.num_envs, *array.shape[2:]).copy()

    def reset(self) -> Any:
        """Begins all episodes."""
        return self._rows(self._env.reset(0).observations[self._group.name])

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Takes the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Steps all worlds; ended ones begin again, and what was seen last is in the infos."""
        assert self._actions is not None
        name, worlds, size = self._group.name, self._env.num_worlds, self._group.size
        result = self._env.step({name: self._actions.reshape(worlds, size, -1)})
        dones = result.terminated[name] | result.truncated[:, None]
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if result.final is not None:
            for place, world in enumerate(result.final.worlds):
                for agent in range(size):
                    infos[world * size + agent] = {
                        "terminal_observation": result.final.observation.observations[name][place, agent],
                        "TimeLimit.truncated": bool(result.truncated[world]),
                    }
        rewards, observations = result.rewards[name], result.observation.observations[name]
        return self._rows(observations), self._rows(rewards), self._rows(dones), infos

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same for all."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """There is nothing to set."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """There is nothing to call."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> Sequence[bool]:
        """No env is wrapped."""
        return [False] * self.num_envs


def main(*, agents: int, rows: int, worlds: int) -> None:
    """Serves figures in seconds an iteration.

    Args:
        agents: Traders in the market.
        rows: Agent-steps of an iteration.
        worlds: Worlds.
    """
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy",
        BatchedVecEnv(agents, worlds),
        learning_rate=3e-4,
        n_steps=rows // agents // worlds,
        batch_size=512,
        n_epochs=4,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=0.0,
        vf_coef=0.5,
        max_grad_norm=0.5,
        policy_kwargs={"net_arch": {"pi": [256, 256], "vf": [256, 256]}, "activation_fn": torch.nn.Tanh},
        device="cpu",
        seed=0,
    )
    model.learn(rows)

    def measure() -> float:
        start = time.perf_counter()
        model.learn(rows, reset_num_timesteps=False)
        return time.perf_counter() - start

    serve(measure)


if __name__ == "__main__":
    main(**options(sys.argv))
