"""The two-step game (Rashid et al. 2018, appendix B): what can only be found by agents that value things jointly.

The first agent's first choice leads to 2A, where whatever is done pays 7, or to 2B, which pays 8 if both choose the
second action, 0 if both choose the first, and 1 otherwise. The team's payoff is dealt out evenly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain

GROUP, START, SEVEN, EIGHT = "players", 0, 1, 2
PAYOFFS = np.array([[[0, 0], [0, 0]], [[7, 7], [7, 7]], [[0, 1], [1, 8]]], np.float64)


class TwoStepConfig(EnvConfig):
    """Two players, always."""

    num_agents: int = Field(2, ge=2, le=2)


class TwoStepTask(Task):
    """Two steps, always."""

    max_steps: int = Field(3, ge=3)


class TwoStepEnv(BatchedEnv):
    """Observation and state: which of the three states it is."""

    def __init__(
        self, config: TwoStepConfig, num_worlds: int, *, task: TwoStepTask | None = None, first_world: int = 0
    ) -> None:
        layout = ObservationLayout(("start", "seven", "eight"))
        players = AgentGroup(GROUP, ("first", "second"), MultiDiscrete([2]), layout)
        super().__init__(
            num_worlds,
            [players],
            state_size=3,
            task=task or TwoStepTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self.place = np.zeros(num_worlds, np.int64)

    def _begin(self, worlds: IntArray) -> None:
        self.place[worlds] = START

    def _advance(self, actions: Actions) -> Outcome:
        first, second = actions[GROUP][:, 0, 0], actions[GROUP][:, 1, 0]
        over = self.place != START
        payoff = np.where(over, PAYOFFS[self.place, first, second], 0.0)
        self.place = np.where(over, START, np.where(first == 0, SEVEN, EIGHT))
        return Outcome(
            {GROUP: np.repeat(payoff[:, None] / 2, 2, axis=1).astype(np.float32)},
            {GROUP: np.repeat(over[:, None], 2, axis=1)},
        )

    def _observe(self) -> Observation:
        state = np.eye(3, dtype=np.float32)[self.place]
        return Observation({GROUP: np.repeat(state[:, None], 2, axis=1)}, {}, {}, state)

    def _get_state(self) -> dict[str, Any]:
        return {"place": self.place.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.place = np.array(state["place"])


DOMAIN = Domain("two_step", "The two-step game, for tests.", TwoStepConfig, TwoStepTask, TwoStepEnv)
