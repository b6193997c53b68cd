"""What a batch of worlds writes down about the running episodes: where they stand, who took part, what was earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.arrays import COST, OBJECTIVE, AgentGroup, BoolArray, FloatArray, IntArray, mean_over
from envs.tasks import Task

Sums = dict[str, NDArray[np.float64]]


@dataclass(slots=True)
class Ledger:
    """Where each world stands in its episode.

    Attributes:
        clock: Steps since it began, int `[B]`.
        episodes: Its number, int `[B]`: how many that world began before.
        limits: Steps after which it is truncated, its task's `max_steps`, int `[B]`.
        returns: By group, rewards since it began, before a team's share is mixed in, float `[B, A]`.
        present: By group, who has taken part since it began, bool `[B, A]`.
        objectives, costs: By group, their sums since it began, float `[B, A, R]` and `[B, A, C]`; empty where there are
            none.
        weights: Each objective's weight in the reward, float `[B, R]`.
    """

    clock: IntArray
    episodes: IntArray
    limits: IntArray
    returns: Sums = field(default_factory=dict)
    present: dict[str, BoolArray] = field(default_factory=dict)
    objectives: Sums = field(default_factory=dict)
    costs: Sums = field(default_factory=dict)
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def open(cls, num_worlds: int, groups: Sequence[AgentGroup], objectives: int, costs: int) -> Ledger:
        """An empty one, for so many worlds, objectives and costs."""
        shapes = {group.name: (num_worlds, group.size) for group in groups}
        clock, episodes, limits = (np.zeros(num_worlds, np.int64) for _ in range(3))
        ledger = cls(clock, episodes, limits)
        ledger.returns = {name: np.zeros(shape) for name, shape in shapes.items()}
        ledger.present = {name: np.ones(shape, np.bool_) for name, shape in shapes.items()}
        if objectives:
            ledger.objectives = {name: np.zeros((*shape, objectives)) for name, shape in shapes.items()}
            ledger.weights = np.ones((num_worlds, objectives))
        if costs:
            ledger.costs = {name: np.zeros((*shape, costs)) for name, shape in shapes.items()}
        return ledger

    def begin(self, worlds: IntArray, tasks: Sequence[Task], objectives: Sequence[str]) -> None:
        """Starts an episode of `worlds`, each with its task, from nothing."""
        self.clock[worlds] = 0
        for world, task in zip(worlds, tasks, strict=True):
            self.limits[world] = task.max_steps
            if objectives:
                self.weights[world] = [task.objective_weights.get(name, 1.0) for name in objectives]
        for summed in (self.returns, self.objectives, self.costs):
            for array in summed.values():
                array[worlds] = 0.0

    def add(self, rewards: Mapping[str, Any], objectives: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        """Counts one step of all worlds, and what was earned in it."""
        self.clock += 1
        for kept, added in zip((self.returns, self.objectives, self.costs), (rewards, objectives, costs), strict=True):
            for name, array in added.items():
                kept[name] += array

    def weighted(self, objectives: Mapping[str, NDArray[Any]]) -> dict[str, FloatArray]:
        """The rewards `[B, A]` that objectives `[B, A, R]` make, by the weights of each world's task."""
        rewards = {}
        for name, array in objectives.items():
            # One after the other they add up in the same order whatever B is; a matrix product's need not.
            each = zip(np.moveaxis(array, 2, 0), self.weights.T, strict=True)
            rewards[name] = np.add.reduce([earned * weight[:, None] for earned, weight in each]).astype(np.float32)
        return rewards

    def means(
        self, worlds: IntArray, objectives: Sequence[str], costs: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """By `objective_NAME` and `cost_NAME`, the mean over those who took part in the episodes of `worlds`, `[E]`."""
        present = {name: array[worlds] for name, array in self.present.items()}
        return {
            prefix + name: mean_over({group: array[worlds, :, place] for group, array in sums.items()}, present)
            for prefix, names, sums in ((OBJECTIVE, objectives, self.objectives), (COST, costs, self.costs))
            for place, name in enumerate(names)
        }

    def get_state(self) -> dict[str, Any]:
        """All of it, in copies."""
        return {
            name: {group: array.copy() for group, array in value.items()} if isinstance(value, dict) else value.copy()
            for name in self.__slots__
            for value in (getattr(self, name),)
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name in self.__slots__:
            value = state[name]
            copied = (
                {group: array.copy() for group, array in value.items()} if isinstance(value, dict) else value.copy()
            )
            setattr(self, name, copied)
