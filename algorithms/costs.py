"""What costs mean to those who are to keep within limits: whose they are, and what a policy's come to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.rollout import EpisodeRecord
from algorithms.seeds import Use, derived_seed
from envs.arrays import COST
from envs.base import BatchedEnv, BoolArray, FloatArray, Task
from policies.base import Policy
from policies.rollout import play

Floats = NDArray[np.float64]
ADVANTAGES, TARGETS = "cost_advantages_", "cost_targets_"
"""How columns of a batch are called that hold a cost's advantages, and the values it is to be foreseen by."""
EXAM_WORLDS = 64
"""Worlds that an exam plays in together, at most."""


def shared(
    costs: Mapping[str, NDArray[Any]], alive: Mapping[str, BoolArray], team_weight: float
) -> dict[str, FloatArray]:
    """What each agent is charged for: as much of the team's costs as it has of the team's rewards.

    A limit is on the mean over a team, so the team's Lagrangian is the mean of `r_i - lambda c_i` over its agents.
    Where rewards are shared, an agent is to pursue `(1 - w) x_i + w mean(x)` of that `x = r - lambda c`, which is the
    same as sharing rewards and costs each by the same weight: with `w = 1` a limit is a common good as the reward is,
    and with `w = 0` all mind their own.

    Args:
        costs: By group, `[B, A, C]`.
        alive: Who acted, by group, `[B, A]`.
        team_weight: Share `w` of the team's mean.

    Returns:
        By group, float32 `[B, A, C]`.
    """
    if not team_weight:
        return {name: np.asarray(array, np.float32) for name, array in costs.items()}
    total = sum(array.sum(axis=1) for array in costs.values())  # who is not alive costs nothing
    count = sum(np.count_nonzero(alive[name], axis=1) for name in costs)
    team = np.float32(team_weight) * (total / np.maximum(count, 1)[:, None]).astype(np.float32)[:, None]
    own = np.float32(1 - team_weight)
    return {name: (own * array + team) * alive[name][:, :, None] for name, array in costs.items()}


def of_episodes(records: Sequence[EpisodeRecord], task: str, names: Collection[str]) -> Floats | None:
    """Mean costs `[C]` of the episodes of a task, as `Final.metrics` has them; None if there are none."""
    rows = [[record.metrics[COST + name] for name in names] for record in records if record.task == task]
    return np.mean(rows, axis=0) if rows else None


class Exam:
    """Plays a policy with and without exploration in the same fresh worlds.

    Args:
        env: Worlds of its own.
        names: The costs.
        episodes: Episodes that each of the two plays; as many more as fill the worlds.
    """

    def __init__(self, env: BatchedEnv, names: Collection[str], episodes: int) -> None:
        self.env, self.names = env, tuple(names)
        self.per_world = -(-episodes // env.num_worlds)

    def hold(self, policy: Policy, task: Task, key: tuple[int, int]) -> tuple[Floats, Floats]:
        """Mean costs with exploration and without, `[C]` each.

        Args:
            policy: Who is examined.
            task: What is played.
            key: The run's seed and the number of its rollout: no other exam has these worlds.
        """
        seed = derived_seed(Use.LIMITS, *key) >> 1
        both = []
        for deterministic in (False, True):
            played = play(
                self.env,
                policy,
                task,
                seed=seed,
                episodes_per_world=self.per_world,
                deterministic=deterministic,
            )
            both.append(np.array([played.metrics[COST + name].mean() for name in self.names]))
        return both[0], both[1]
