"""Yardsticks for the cue env: guessing, and repeating what is shown."""

from __future__ import annotations

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.cue import CueEnv, CueTask
from policies.base import Policy, PolicyState, RandomPolicy
from policies.heuristics import Baselines


class RepeatCue(Policy):
    """Repeats the cue exactly: the optimum, reward 1 a step."""

    name = "repeat"

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        assert isinstance(env, CueEnv)
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Takes the env's own perfect actions."""
        return self._env.perfect_actions(), None


def most(env: BatchedEnv, task: CueTask) -> float:
    """What repeating earns: 1 in every step an agent lives."""
    assert isinstance(env, CueEnv)
    agents = task.agents or env.config.num_agents
    lives = [*task.lifetimes, *[0] * agents][:agents]
    return float(np.mean([min(life or task.max_steps, task.max_steps) for life in lives]))


BASELINES = Baselines(
    "random", "repeat", {"random": RandomPolicy, "repeat": RepeatCue}, attainable="repeat", bound=most
)
