"""Yardsticks for covering landmarks: staying where one is, and going where the shortest assignment says."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from envs.base import Actions, BatchedEnv, Observation
from envs.particles.physics import DAMPING, TIME_STEP, lengths
from envs.particles.spread import SENSITIVITY, SpreadEnv
from policies.base import Policy, PolicyState, RandomPolicy
from policies.heuristics import Baselines

Array = NDArray[np.float64]

GLIDE = TIME_STEP / DAMPING
"""How far an agent glides for each unit of its velocity, if nothing pushes it any more [time]."""
IMPULSE = SENSITIVITY * TIME_STEP * GLIDE
"""How much farther one step of full force takes it in the end [distance]."""
ENUMERATED = 4
"""Agents up to which all assignments are tried, for all worlds at once."""


def shortest_assignment(distances: Array) -> NDArray[np.intp]:
    """The landmark of each agent such that the way of all together is shortest.

    Args:
        distances: From each agent to each landmark, `[B, N, N]`.

    Returns:
        Landmarks by agent, `[B, N]`, each once.
    """
    count = distances.shape[1]
    if count > ENUMERATED:
        return np.stack([linear_sum_assignment(each)[1] for each in distances])
    ways = np.array(list(permutations(range(count))))
    total = distances[:, np.arange(count), ways].sum(axis=2)
    return ways[total.argmin(axis=1)]


class Mover(Policy):
    """A rule that knows the env by what agents see, so that it plays in mpe2's as well."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps how many agents there are, and their actions."""
        if not isinstance(env, SpreadEnv):
            raise TypeError(f"env: got {type(env).__name__}, allowed is SpreadEnv")
        self._group = env.groups[env.GROUP]


class Stay(Mover):
    """Does nothing: only landmarks that happen to be near are covered."""

    name = "stay"

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """No force."""
        group = self._group
        worlds = len(observation.observations[group.name])
        kind = np.int64 if group.discrete else np.float32
        return {group.name: np.zeros((worlds, group.size, group.num_actions), kind)}, None


class Assignment(Mover):
    """Each agent goes straight to its landmark, and brakes so that it comes to rest there.

    Landmarks are assigned anew in every step, by the shortest way of all together (Kuhn 1955). Nobody gives way.
    """

    name = "assignment"

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The force that brings each agent closest to resting on its landmark."""
        group = self._group
        seen = observation.observations[group.name].astype(np.float64)
        landmarks = seen[:, :, 4 : 4 + 2 * group.size].reshape(*seen.shape[:2], group.size, 2)
        mine = shortest_assignment(lengths(landmarks))
        missing = np.take_along_axis(landmarks, mine[:, :, None, None], axis=2)[:, :, 0] - GLIDE * seen[:, :, :2]
        move = discrete_move if group.discrete else continuous_move
        return {group.name: move(missing)}, None


def continuous_move(missing: Array) -> NDArray[Any]:
    """Forces `[…, 2]` that make up for what is missing at rest, as far as one step can."""
    return np.clip(missing / IMPULSE, -1.0, 1.0).astype(np.float32)


def discrete_move(missing: Array) -> NDArray[Any]:
    """Choices `[…, 1]` along the axis on which more is missing; none where a push would miss by as much."""
    axis = np.abs(missing).argmax(axis=-1)[..., None]
    along = np.take_along_axis(missing, axis, axis=-1)
    return np.where(np.abs(along) < IMPULSE / 2, 0, 1 + 2 * axis + (along > 0)).astype(np.int64)


BASELINES = Baselines(
    naive="stay",
    informed="assignment",
    policies={"stay": Stay, "random": RandomPolicy, "assignment": Assignment},
    attainable="assignment",  # it sees what the agents do
)
