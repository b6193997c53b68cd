"""Follow the target, and leave early: a small problem on which a critic can unteach the policy whose trunk it shares.

Every step shows each agent a target; missing it costs the squared distance times `scale`, so the best return is 0. Each
agent leaves after a number of steps of its own, which nobody sees, so that no critic can foresee what an agent is worth
that plays badly: the error stays, and grows with the square of `scale`. As a user's own domain would be, it is known by
its address, `benchmarks.leaving_env:DOMAIN`, and brings its yardsticks with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain
from policies.base import Policy, PolicyState
from policies.heuristics import Baselines

GROUP = "followers"
AXES = 2


class LeavingConfig(EnvConfig):
    """Who is there, for how long, and what an error costs."""

    lifetimes: tuple[int, ...] = Field(
        (5, 10, 15, 20), min_length=1, description="Steps after which each agent leaves; agents are as many."
    )
    scale: float = Field(1.0, gt=0, allow_inf_nan=False, description="Cost of a squared distance of 1.")


class LeavingTask(Task):
    """Nothing varies but the length."""

    max_steps: int = Field(25, ge=1, description="Steps after which an episode is truncated.")


class LeavingEnv(BatchedEnv):
    """Follow the target, and leave early.

    Observation: the target, in [-1, 1]. Action: where to go, in [-1, 1]. Reward: `-scale * |action - target|^2`.

    Args:
        config: Agents and costs.
        num_worlds: Number of worlds `B`.
        task: The task to begin with.
        first_world: Number of the first world.
    """

    def __init__(
        self, config: LeavingConfig, num_worlds: int, *, task: LeavingTask | None = None, first_world: int = 0
    ) -> None:
        agents = tuple(f"follower_{n}" for n in range(len(config.lifetimes)))
        layout = ObservationLayout(tuple(f"target_{axis}" for axis in range(AXES)), (), (), 0)
        group = AgentGroup(GROUP, agents, Box(-1, 1, (AXES,), np.float32), layout)
        super().__init__(
            num_worlds,
            [group],
            state_size=len(agents) * AXES,
            task=task or LeavingTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self._lifetimes = np.array(config.lifetimes)
        self._scale = config.scale
        self._targets = np.zeros((num_worlds, len(agents), AXES), np.float32)

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds:
            self._targets[world] = self.streams.generators[world].uniform(-1, 1, self._targets.shape[1:])

    def _advance(self, actions: Actions) -> Outcome:
        alive = self.alive[GROUP]
        missed = np.square(actions[GROUP] - self._targets).sum(axis=2) * self._scale
        self._begin(np.arange(self.num_worlds))
        leaves = self.clock[:, None] + 1 >= self._lifetimes
        return Outcome({GROUP: np.where(alive, -missed, 0.0).astype(np.float32)}, {GROUP: alive & leaves})

    def _observe(self) -> Observation:
        seen = self._targets * self.alive[GROUP][:, :, None]
        return Observation({GROUP: seen}, {}, {}, seen.reshape(self.num_worlds, -1))

    def _get_state(self) -> dict[str, Any]:
        return {"targets": self._targets.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self._targets[...] = state["targets"]


class Stay(Policy):
    """Stays in the middle: what can be done without looking."""

    name = "stay"

    def bind(self, env: BatchedEnv) -> None:
        """Remembers the shape of actions."""
        self._shape = (env.num_worlds, env.groups[GROUP].size, AXES)

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """All zero."""
        return {GROUP: np.zeros(self._shape, np.float32)}, None


class Follow(Policy):
    """Goes where the target is: the optimum, which pays nothing."""

    name = "follow"

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """What is seen."""
        return {GROUP: observation.observations[GROUP].copy()}, None


DOMAIN = Domain("leaving", "Follow the target, and leave early.", LeavingConfig, LeavingTask, LeavingEnv)
BASELINES = Baselines("stay", "follow", {"stay": Stay, "follow": Follow})
