"""A throw-away team, each of which sees one bit, and all of which are asked about all bits: what messages are for.

At every step bits are drawn anew, and every agent earns 1 if it answers right: whether the sum of the team's bits is
odd, or what it is. Who hears the others can earn 1 a step. Who does not knows its own bit alone, of `n`: of the parity
that tells nothing, and one earns 1/2 whatever one says; of the sum the best answer is right as often as the likeliest
sum of the `n - 1` others' bits comes about, `binom(n - 1, floor((n - 1) / 2)) / 2^(n - 1)` (`alone`).
"""

from __future__ import annotations

from math import comb
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import MultiDiscrete
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, BoolArray, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain

ROLES = ("left", "right")


class ParityConfig(EnvConfig):
    """How many see bits, what they are asked, and who hears whom."""

    num_agents: int = Field(4, ge=1, description="Agents.")
    asked: Literal["parity", "sum"] = Field("parity", description="What is asked for.")
    roles: Literal[1, 2] = Field(1, description="Groups that the agents are dealt out to.")
    deaf: bool = Field(False, description="Whether nobody may hear anybody.")


class ParityTask(Task):
    """For how long they are asked."""

    max_steps: int = Field(4, ge=1)


class ParityEnv(BatchedEnv):
    """Observation: own bit, 1 or -1. Reward: 1 for the right answer, else 0."""

    def __init__(
        self, config: ParityConfig, num_worlds: int, *, task: ParityTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        choices = 2 if config.asked == "parity" else config.num_agents + 1
        groups = []
        for name, numbers in zip(ROLES, np.array_split(np.arange(config.num_agents), config.roles), strict=False):
            ids = tuple(f"agent_{number}" for number in numbers)
            groups.append(AgentGroup(name, ids, MultiDiscrete([choices]), ObservationLayout(("bit",))))
        super().__init__(
            num_worlds,
            groups,
            state_size=config.num_agents,
            task=task or ParityTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self.bits = np.zeros((num_worlds, config.num_agents), np.int64)

    @property
    def hears(self) -> BoolArray | None:
        """Nobody anybody, if it is so configured."""
        return np.zeros((self.config.num_agents,) * 2, np.bool_) if self.config.deaf else None

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds:
            self.bits[world] = self.streams.generators[world].integers(2, size=self.config.num_agents)

    def _advance(self, actions: Actions) -> Outcome:
        total = self.bits.sum(axis=1, keepdims=True)
        right = total % 2 if self.config.asked == "parity" else total
        earned = {name: (actions[name][:, :, 0] == right).astype(np.float32) for name in self.groups}
        self._begin(np.arange(self.num_worlds))
        return Outcome(earned, {name: np.zeros(each.shape, np.bool_) for name, each in earned.items()})

    def _observe(self) -> Observation:
        signs = (2 * self.bits - 1).astype(np.float32)
        seen, first = {}, 0
        for name, group in self.groups.items():
            seen[name] = np.ascontiguousarray(signs[:, first : first + group.size, None])
            first += group.size
        return Observation(seen, {}, {}, signs)

    def _get_state(self) -> dict[str, Any]:
        return {"bits": self.bits.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.bits[...] = state["bits"]


def alone(config: ParityConfig) -> float:
    """What the best earns a step that does not hear the others."""
    others = config.num_agents - 1
    return 0.5 if config.asked == "parity" else comb(others, others // 2) / 2**others


DOMAIN = Domain("parity", "What do our bits come to?", ParityConfig, ParityTask, ParityEnv)
