"""A throw-away domain of one step whose optimum under a limit is known: more is better, and costs its square.

Each of the agents chooses `a`, is paid `gain * a`, and is charged `a^2`. With a limit `d` on the cost's mean the best
is `a = sqrt(d)`, and the limit's multiplier is what the reward grows by with it, `d(gain * sqrt(d)) / dd`, that is
`gain / (2 sqrt(d))`. A second cost, `none`, is always 0. In discrete mode branches are evenly spaced from -1 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain

GROUP, CHOICES = "arms", 21


class BanditConfig(EnvConfig):
    """How many play."""

    num_agents: int = Field(2, ge=1, description="Agents.")


class BanditTask(Task):
    """What an action earns, and how often it is chosen."""

    max_steps: int = Field(1, ge=1)
    gain: float = Field(1.0, description="Reward of an action of 1.")


class BanditEnv(BatchedEnv):
    """Reward `gain * a`, cost `a^2`."""

    def __init__(
        self, config: BanditConfig, num_worlds: int, *, task: BanditTask | None = None, first_world: int = 0
    ) -> None:
        self.discrete = config.action_mode == "discrete"
        space: Any = MultiDiscrete([CHOICES]) if self.discrete else Box(-1, 1, (1,), np.float32)
        names = tuple(f"arm_{number}" for number in range(config.num_agents))
        super().__init__(
            num_worlds,
            [AgentGroup(GROUP, names, space, ObservationLayout(("age",)))],
            state_size=1,
            task=task or BanditTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            costs=("none", "square"),
        )
        self.gain = np.ones(num_worlds)

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds.tolist():
            task = self.tasks[world]
            assert isinstance(task, BanditTask)
            self.gain[world] = task.gain

    def _advance(self, actions: Actions) -> Outcome:
        chosen = actions[GROUP][:, :, 0].astype(np.float64)
        if self.discrete:
            chosen = chosen * 2 / (CHOICES - 1) - 1
        costs = np.stack([np.zeros_like(chosen), chosen**2], axis=2).astype(np.float32)
        rewards = (self.gain[:, None] * chosen).astype(np.float32)
        return Outcome({GROUP: rewards}, {GROUP: np.zeros(chosen.shape, np.bool_)}, costs={GROUP: costs})

    def _observe(self) -> Observation:
        age = (self.clock / [task.max_steps for task in self.tasks]).astype(np.float32)[:, None]
        seen = np.repeat(age[:, None], self.groups[GROUP].size, axis=1)
        return Observation({GROUP: seen}, {}, {}, age)

    def _get_state(self) -> dict[str, Any]:
        return {}

    def _set_state(self, state: dict[str, Any]) -> None:
        self._begin(np.arange(self.num_worlds))


DOMAIN = Domain("bandit", "A bandit, for tests.", BanditConfig, BanditTask, BanditEnv)
