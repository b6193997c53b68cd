"""Anything that acts: heuristics, oracles, trained networks and served bundles share one signature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from envs.base import Actions, BatchedEnv, IntArray, Observation
from envs.sampling import random_actions

PolicyState = Any
"""What a recurrent policy carries from step to step; None for the others."""


class Policy(ABC):
    """Maps what is seen in `B` worlds to actions, all at once."""

    name: str = "policy"

    def bind(self, env: BatchedEnv) -> None:  # noqa: B027, most policies need nothing
        """Called before a rollout in `env`, whose groups and layouts the policy may look up.

        An oracle keeps the env, to read from it what no learner sees.
        """

    @abstractmethod
    def act(
        self,
        observation: Observation,
        state: PolicyState,
        *,
        deterministic: bool,
        rng: np.random.Generator,
    ) -> tuple[Actions, PolicyState]:
        """Chooses actions.

        Args:
            observation: What the agents see, by group `[B, A, D]`.
            state: What the last call returned; None at the start.
            deterministic: Take the most likely action instead of sampling.
            rng: Source of all randomness.

        Returns:
            Actions by group, valid for `BatchedEnv.step`, and the next state.
        """

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """The state with nothing remembered of some worlds, whose episodes have ended.

        Args:
            state: What `act` returned.
            worlds: Indices of the worlds that have begun anew, int64 `[E]`.
        """
        return state


class Sampled(Policy):
    """A policy that samples its actions also where it is asked for the most likely ones.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.name = f"{policy.name} (sampled)"

    def bind(self, env: BatchedEnv) -> None:
        """Binds the policy."""
        self.policy.bind(env)

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Samples; `deterministic` is ignored."""
        return self.policy.act(observation, state, deterministic=False, rng=rng)

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """The policy's state without some worlds."""
        return self.policy.forget(state, worlds)


class RandomPolicy(Policy):
    """Uniform over the allowed actions; zero where a continuous dimension is masked."""

    name = "random"

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the groups."""
        self._groups = env.groups

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Draws every dimension independently; `deterministic` is ignored."""
        return random_actions(self._groups, observation, rng), None
