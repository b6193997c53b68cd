"""Envs of strangers, as they would write them: agents who join late, and dials with several branches."""

# ruff: noqa: D102

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from pettingzoo import ParallelEnv

Dicts = tuple[dict[str, Any], ...]


class LateJoiners(ParallelEnv[str, Any, Any]):
    """One worker is there from the start; another joins in every fourth step, until there are three."""

    metadata = {"name": "late_joiners"}  # noqa: RUF012
    possible_agents = ["worker_0", "worker_1", "worker_2"]  # noqa: RUF012

    def observation_space(self, agent: str) -> Box:
        return Box(-1, 1, (2,), np.float32)

    def action_space(self, agent: str) -> Box:
        return Box(0, 10, (1,), np.float32)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.rng, self.steps = np.random.default_rng(seed), 0
        self.agents = self.possible_agents[:1]
        return self._seen(), {agent: {} for agent in self.agents}

    def _seen(self) -> dict[str, Any]:
        self.wanted = {agent: float(self.rng.uniform(0, 10)) for agent in self.agents}
        return {a: np.array([w / 5 - 1, len(self.agents) / 3], np.float32) for a, w in self.wanted.items()}

    def step(self, actions: dict[str, Any]) -> Dicts:
        rewards = {agent: -abs(float(actions[agent][0]) - self.wanted[agent]) for agent in self.agents}
        self.steps += 1
        cut = dict.fromkeys(self.agents, self.steps >= 12)
        over = dict.fromkeys(self.agents, False)
        if self.steps % 4 == 0 and len(self.agents) < 3 and self.steps < 12:
            self.agents = self.possible_agents[: len(self.agents) + 1]
        seen = self._seen()
        if self.steps >= 12:
            self.agents = []
        return seen, rewards, over, cut, {agent: {} for agent in seen}


class Dials(ParallelEnv[str, Any, Any]):
    """Two operators each set two dials, of four and of three positions, as they are shown."""

    metadata = {"name": "dials"}  # noqa: RUF012
    possible_agents = ["operator_0", "operator_1"]  # noqa: RUF012

    def observation_space(self, agent: str) -> MultiDiscrete:
        return MultiDiscrete([4, 3])

    def action_space(self, agent: str) -> MultiDiscrete:
        return MultiDiscrete([4, 3])

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.rng, self.steps, self.agents = np.random.default_rng(seed), 0, list(self.possible_agents)
        return self._shown(), {agent: {} for agent in self.agents}

    def _shown(self) -> dict[str, Any]:
        self.wanted = {agent: self.rng.integers([4, 3]) for agent in self.possible_agents}
        return dict(self.wanted)

    def step(self, actions: dict[str, Any]) -> Dicts:
        rewards = {agent: float((actions[agent] == self.wanted[agent]).mean()) for agent in self.agents}
        self.steps += 1
        cut = dict.fromkeys(self.agents, self.steps >= 10)
        over, infos = dict.fromkeys(self.agents, False), {agent: {} for agent in self.agents}
        if self.steps >= 10:
            self.agents = []
        return self._shown(), rewards, over, cut, infos
