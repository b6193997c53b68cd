"""Repeat the cue: the smallest env with everything the contract knows, and values known by hand.

Every step shows each agent one cue per entity; repeating it earns 1, whatever came before. So a perfect agent with `n`
steps to live is worth `(1 - gamma^n) / (1 - gamma)`, and one whose episode is merely cut off `1 / (1 - gamma)`. Tests
hold returns, advantages, bootstrapping, masks and the observation normaliser to these numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain


class CueConfig(EnvConfig):
    """How many agents, entities and choices there are at most."""

    num_agents: int = Field(2, ge=1, description="Agents `A`.")
    num_entities: int = Field(3, ge=1, description="Entities `N`, sized for the largest task.")
    num_choices: int = Field(4, ge=2, description="Choices of a discrete action; cues are one of them.")


class CueTask(Task):
    """How many of them take part, and for how long."""

    max_steps: int = Field(10, ge=1, description="Steps after which an episode is truncated.")
    entities: int = Field(2, ge=1, description="Entities in play; the others are masked.")
    lifetimes: tuple[int, ...] = Field(
        (), description="Steps after which each agent terminates; 0 or missing: it lives until the episode is cut off."
    )
    agents: int = Field(0, ge=0, description="Agents that take part; 0 is all.")


class CueEnv(BatchedEnv):
    """Repeat the cue.

    Observation: own `[age / max_steps]`; each entity `[cue]`, in [-1, 1]. Action: one dimension, or one branch, an
    entity. Reward: the mean over the entities in play of `1 - (action - cue)^2 / 4`, or of `action == cue`.

    Args:
        config: Sizes and modes.
        num_worlds: Number of worlds `B`.
        task: The task to begin with.
        first_world: Number of the first world.
    """

    GROUP = "repeaters"

    def __init__(
        self, config: CueConfig, num_worlds: int, *, task: CueTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        size, entities = config.num_agents, config.num_entities
        layout = ObservationLayout(("age",), ("cue",), tuple(f"cue_{n}" for n in range(entities)), 1)
        space = (
            Box(-1, 1, (entities,), np.float32)
            if config.action_mode == "continuous"
            else MultiDiscrete([config.num_choices] * entities)
        )
        group = AgentGroup(self.GROUP, tuple(f"repeater_{a}" for a in range(size)), space, layout)
        super().__init__(
            num_worlds,
            [group],
            state_size=size * entities,
            task=task or CueTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self._choices = np.zeros((num_worlds, size, entities), np.int64)
        self._in_play = np.zeros((num_worlds, entities), np.bool_)
        self._lifetimes = np.zeros((num_worlds, size), np.int64)
        self.admit(self._next_tasks[0])

    def check_task(self, task: Task) -> None:
        """Raises ValueError if the task needs more entities or agents than there are."""
        assert isinstance(task, CueTask)
        if task.entities > self.config.num_entities:
            raise ValueError(f"entities: got {task.entities}, allowed is at most {self.config.num_entities}")
        if max(task.agents, len(task.lifetimes)) > self.config.num_agents:
            raise ValueError(f"agents: got {task.agents}, allowed is at most {self.config.num_agents}")

    @property
    def cues(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What is shown, float32 `[B, A, N]` in [-1, 1]."""
        return (self._choices * (2.0 / (self.config.num_choices - 1)) - 1.0).astype(np.float32)

    def perfect_actions(self) -> dict[str, np.ndarray[Any, Any]]:
        """The actions that earn 1 in this step, by group."""
        return {self.GROUP: self.cues if self.config.action_mode == "continuous" else self._choices.copy()}

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds:
            task = self.tasks[world]
            assert isinstance(task, CueTask)
            self._in_play[world] = np.arange(self.config.num_entities) < task.entities
            self._lifetimes[world] = 0
            self._lifetimes[world, : len(task.lifetimes)] = task.lifetimes
            self.alive[self.GROUP][world] = np.arange(self.config.num_agents) < (task.agents or self.config.num_agents)
        self._draw(worlds)

    def _draw(self, worlds: IntArray) -> None:
        """Draws the cues of the next step."""
        for world in worlds:
            stream = self.streams.generators[world]
            self._choices[world] = stream.integers(self.config.num_choices, size=self._choices.shape[1:])
        self._choices[worlds] *= self._in_play[worlds][:, None, :]

    def _advance(self, actions: Actions) -> Outcome:
        taken, alive = actions[self.GROUP], self.alive[self.GROUP]
        if self.config.action_mode == "continuous":
            earned = 1.0 - (taken - self.cues) ** 2 / 4.0
        else:
            earned = (taken == self._choices).astype(np.float64)
        in_play = self._in_play[:, None, :]
        mean = np.where(in_play, earned, 0.0).sum(axis=2) / in_play.sum(axis=2)
        ends = (self._lifetimes > 0) & (self.clock[:, None] + 1 >= self._lifetimes)
        self._draw(np.arange(self.num_worlds))
        return Outcome({self.GROUP: np.where(alive, mean, 0.0).astype(np.float32)}, {self.GROUP: alive & ends})

    def _observe(self) -> Observation:
        size = self.config.num_agents
        alive = self.alive[self.GROUP][:, :, None]
        limits = np.array([task.max_steps for task in self.tasks])
        age = np.broadcast_to((self.clock / limits)[:, None, None], (self.num_worlds, size, 1))
        in_play = np.broadcast_to(self._in_play[:, None, :], self._choices.shape)
        cues = self.cues * in_play
        seen = np.concatenate([age, cues, in_play], axis=2).astype(np.float32) * alive
        if self.config.action_mode == "continuous":
            mask = in_play
        else:  # an entity out of play leaves the first choice only
            first = np.arange(self.config.num_choices) == 0
            mask = (in_play[..., None] | first).reshape(self.num_worlds, size, -1)
        state = cues.reshape(self.num_worlds, -1)
        return Observation({self.GROUP: seen}, {self.GROUP: np.ascontiguousarray(mask)}, {}, state)

    def _get_state(self) -> dict[str, Any]:
        return {
            "choices": self._choices.copy(),
            "in_play": self._in_play.copy(),
            "lifetimes": self._lifetimes.copy(),
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self._choices[...] = state["choices"]
        self._in_play[...] = state["in_play"]
        self._lifetimes[...] = state["lifetimes"]


DOMAIN = Domain(
    "cue",
    "Repeat the cue: a tiny env whose values are known by hand, for tests.",
    CueConfig,
    CueTask,
    CueEnv,
    baselines="policies.heuristics.cue:BASELINES",
)
