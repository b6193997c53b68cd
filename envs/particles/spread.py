"""Cooperative navigation: a team spreads over landmarks without bumping into each other; mpe2's `simple_spread_v3`.

What is seen, done and paid is that env's, to rounding, so that a policy trained here can be played there, and figures
in print be compared. They are in four scales: see `SpreadEnv`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.particles.physics import Particles, lengths
from envs.streams import drawn_by

AGENT_RADIUS = 0.15
SENSITIVITY = 5.0
"""Force of a full action."""
FORCES = SENSITIVITY * np.array([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
"""The forces of a discrete action, `[5, 2]`: none, left, right, down, up."""
MESSAGE_SIZE = 2
"""Numbers that each agent could say to the others in other scenarios; here all are silent, and the numbers zero."""


class SpreadConfig(EnvConfig):
    """How many agents there are."""

    num_agents: int = Field(3, ge=1, description="Agents, and as many landmarks.")


class SpreadTask(Task):
    """How long an episode is, and what counts in it."""

    max_steps: int = Field(25, ge=1, description="Steps after which an episode is truncated.")
    local_ratio: float = Field(
        0.5, ge=0, le=1, description="Weight of an agent's own collisions; the rest is that of the uncovered landmarks."
    )


def make_layout(agents: int) -> ObservationLayout:
    """What an agent sees, named: the `6 N` numbers of mpe2, in its order, all of them the agent's own features.

    `other_k` is the k-th of the others, in the order of the agents; positions are relative to the agent's own.
    """
    others = range(agents - 1)
    return ObservationLayout(
        (
            *("velocity_x", "velocity_y", "position_x", "position_y"),
            *(f"landmark_{k}_{axis}" for k in range(agents) for axis in "xy"),
            *(f"other_{k}_{axis}" for k in others for axis in "xy"),
            *(f"other_{k}_says_{number}" for k in others for number in range(MESSAGE_SIZE)),
        )
    )


class SpreadEnv(BatchedEnv):
    """`N` agents are to cover `N` landmarks, whoever covers which.

    Agents and landmarks begin anywhere in the square from -1 to 1, at rest; the plane goes on beyond it.

    - *Observation*: `make_layout`. *State*: all positions, all velocities, all landmarks, `[6 N]`: everything there is
      to know, but for the time.
    - *Action*: continuous, a force along each axis, `[-1, 1]^2`, times 5; it is the same as mpe2's five numbers in
      [0, 1], which are one that does nothing and then two an axis, of which the difference counts. Discrete: one branch
      of five choices, `FORCES`.
    - *Reward* of an agent: `(1 - local_ratio) * global + local_ratio * local`, after the step; `global`, the same for
      all, is minus the distances of all landmarks to the agent nearest to each, added up; `local` is -1 for every other
      agent that it touches, so that two who touch cost the team twice.

    Returns are in print in four scales. `team_return` `S` is the sum over agents and steps; an agent's mean is `S / N`;
    and for three agents and 25 steps, PettingZoo until 1.22 had `S - 37.5` and the paper of EPyMARL has `2 S - 75`: in
    both an agent touched itself, and in the latter neither part was halved.

    Figures of an episode: `team_return`; `collisions`, pairs that touched, added up over steps; `landmark_distance`,
    the mean over steps and landmarks of the distance to the nearest agent.

    Args:
        config: How many agents.
        num_worlds: Number of worlds `B`.
        task: The task all worlds begin with.
        first_world: Number of the first world.

    Attributes:
        config: As given.
        particles: The agents' bodies.
        landmarks: Where the landmarks are, `[B, N, 2]`.
    """

    GROUP = "agents"

    def __init__(
        self, config: SpreadConfig, num_worlds: int, *, task: SpreadTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        size = config.num_agents
        layout = make_layout(size)
        space = Box(-1, 1, (2,), np.float32) if config.action_mode == "continuous" else MultiDiscrete([len(FORCES)])
        group = AgentGroup(self.GROUP, tuple(f"agent_{a}" for a in range(size)), space, layout)
        super().__init__(
            num_worlds,
            [group],
            state_size=6 * size,
            task=task or SpreadTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self.particles = Particles(num_worlds, size, AGENT_RADIUS)
        self.landmarks = np.zeros((num_worlds, size, 2))
        self._agent, self._landmark = np.divmod(np.arange(size * size), size)
        self._reach = np.zeros((num_worlds, size, size))  # from each agent to each landmark
        self._local_ratio = np.zeros((num_worlds, 1))
        self._collisions, self._uncovered = np.zeros(num_worlds), np.zeros(num_worlds)
        self._seen_by = np.zeros((num_worlds, size, layout.size), np.float32)
        self._state = np.zeros((num_worlds, 6 * size), np.float32)
        self._nobody = np.zeros((num_worlds, size), np.bool_)

    def _begin(self, worlds: IntArray) -> None:
        size = self.config.num_agents
        streams = [self.streams.generators[world] for world in worlds]
        places = drawn_by(streams, lambda rng: rng.uniform(-1.0, 1.0, (2 * size, 2)))
        self.particles.place(worlds, places[:, :size])
        self.landmarks[worlds] = places[:, size:]
        self._local_ratio[worlds, 0] = [cast(SpreadTask, self.tasks[world]).local_ratio for world in worlds]
        self._collisions[worlds] = self._uncovered[worlds] = 0.0
        self._look(worlds)

    def _advance(self, actions: Actions) -> Outcome:
        taken = actions[self.GROUP]
        if self.config.action_mode == "continuous":
            forces = np.multiply(taken, SENSITIVITY, dtype=np.float64)
        else:
            forces = FORCES.take(taken[:, :, 0], axis=0)
        self.particles.step(forces)
        self._look(slice(None))
        touched = self.particles.touching()
        # Sums go along the last axis, whose order of adding up depends on no other.
        uncovered = self._reach.min(axis=1).sum(axis=1)
        self._collisions += touched.sum(axis=1) / 2
        self._uncovered += uncovered
        ratio = self._local_ratio
        rewards = -((1 - ratio) * uncovered[:, None] + ratio * touched)
        return Outcome({self.GROUP: rewards.astype(np.float32)}, {self.GROUP: self._nobody.copy()})

    def _look(self, worlds: IntArray | slice) -> None:
        """Writes what is seen in `worlds` as they stand, and measures the way to the landmarks."""
        size, bodies = self.config.num_agents, self.particles
        positions, velocities, landmarks = bodies.positions[worlds], bodies.velocities[worlds], self.landmarks[worlds]
        count = len(positions)
        towards = landmarks.take(self._landmark, axis=1) - positions.take(self._agent, axis=1)
        self._reach[worlds] = lengths(towards).reshape(count, size, size)
        end = 4 + 2 * size
        self._seen_by[worlds, :, 0:2] = velocities
        self._seen_by[worlds, :, 2:4] = positions
        self._seen_by[worlds, :, 4:end] = towards.reshape(count, size, 2 * size)
        self._seen_by[worlds, :, end : end + 2 * (size - 1)] = bodies.offsets[worlds].reshape(count, size, -1)
        for part, values in enumerate((positions, velocities, landmarks)):
            self._state[worlds, 2 * size * part : 2 * size * (part + 1)] = values.reshape(count, 2 * size)

    def _observe(self) -> Observation:
        return Observation({self.GROUP: self._seen_by}, {}, {}, self._state)

    def _metrics(self, worlds: IntArray) -> dict[str, NDArray[np.float64]]:
        steps = self.clock[worlds] * self.config.num_agents
        return {
            "team_return": self._ledger.returns[self.GROUP][worlds].sum(axis=1),
            "collisions": self._collisions[worlds],
            "landmark_distance": self._uncovered[worlds] / steps,
        }

    def _get_state(self) -> dict[str, Any]:
        return {
            "particles": self.particles.get_state(),
            "landmarks": self.landmarks.copy(),
            "collisions": self._collisions.copy(),
            "uncovered": self._uncovered.copy(),
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self.particles.set_state(state["particles"])
        self.landmarks[...] = state["landmarks"]
        self._collisions[...] = state["collisions"]
        self._uncovered[...] = state["uncovered"]
        self._local_ratio[:, 0] = [cast(SpreadTask, task).local_ratio for task in self.tasks]
        self._look(slice(None))
