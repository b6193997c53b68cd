"""A throw-away env that cannot be done without memory: a cue is shown at the first step, and asked for at the last.

Each agent is shown one of several choices as an episode begins, and nothing but the time afterwards. In the last step
it earns 1 if it chooses what it was shown, and nothing before. Who does not remember is right one time in `choices`.
Or the cue is never shown, and asked for in every step: then it can be found out by trying alone, and whoever sees what
each choice earned is wrong `(choices - 1) / 2` times an episode, on average.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain

GROUP = "witnesses"


class RecollectionConfig(EnvConfig):
    """How many are shown how much."""

    num_agents: int = Field(1, ge=1, description="Agents.")
    choices: int = Field(3, ge=2, description="Cues there are.")
    shown: bool = Field(True, description="Whether the cue is shown first and asked for last, or found out by trying.")


class RecollectionTask(Task):
    """For how long it is to be remembered."""

    max_steps: int = Field(5, ge=2)


class RecollectionEnv(BatchedEnv):
    """Observation: which cue is shown, one-hot, zeros after the first step; and whether it is asked for."""

    def __init__(
        self, config: RecollectionConfig, num_worlds: int, *, task: RecollectionTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        layout = ObservationLayout((*(f"cue_{choice}" for choice in range(config.choices)), "asked"))
        ids = tuple(f"witness_{number}" for number in range(config.num_agents))
        super().__init__(
            num_worlds,
            [AgentGroup(GROUP, ids, MultiDiscrete([config.choices]), layout)],
            state_size=config.num_agents,
            task=task or RecollectionTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self.cues = np.zeros((num_worlds, config.num_agents), np.int64)

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds:
            self.cues[world] = self.streams.generators[world].integers(self.config.choices, size=self.config.num_agents)

    @property
    def _asked(self) -> Any:
        limits = np.array([task.max_steps for task in self.tasks])
        return ((self.clock + 1 == limits) | (not self.config.shown))[:, None]

    def _advance(self, actions: Actions) -> Outcome:
        right = (actions[GROUP][:, :, 0] == self.cues) & self._asked
        return Outcome({GROUP: right.astype(np.float32)}, {GROUP: np.zeros_like(right)})

    def _observe(self) -> Observation:
        shown = np.eye(self.config.choices)[self.cues] * (self.config.shown & (self.clock == 0))[:, None, None]
        asked = np.broadcast_to(self._asked, self.cues.shape)[..., None]
        seen = np.concatenate([shown, asked], axis=2).astype(np.float32)
        return Observation({GROUP: seen}, {}, {}, self.cues.astype(np.float32))

    def _get_state(self) -> dict[str, Any]:
        return {"cues": self.cues.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.cues[...] = state["cues"]


DOMAIN = Domain("recollection", "What was it?", RecollectionConfig, RecollectionTask, RecollectionEnv)
