"""Rules that order up to a level: the same as was sold, forecasts with safety stocks, tuned, and optimal ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from envs.base import Actions, BatchedEnv, Observation
from envs.supply_chain.config import SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from policies.base import Policy, PolicyState
from policies.heuristics.supply_chain.clark_scarf import clark_scarf
from policies.heuristics.supply_chain.safety_stocks import tuned_levels

Floats = NDArray[np.float64]
OfTask = Callable[[SupplyChainEnv, SupplyTask], Floats]
"""A figure of each way for a task, `[S]`."""


class Insider(Policy):
    """A rule that reads the env itself."""

    _env: SupplyChainEnv

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        assert isinstance(env, SupplyChainEnv)
        self._env = env


class Levels(Insider):
    """Orders up to levels, as near as actions come to them."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        super().bind(env)
        self._known: dict[OfTask, tuple[list[int], Floats]] = {}

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The actions that ask for the levels."""
        return self._env.actions_for(self.levels()), None

    @abstractmethod
    def levels(self) -> Floats:
        """Of each way, `[B, S]`."""

    def by_world(self, figure: OfTask) -> Floats:
        """A figure of the worlds' tasks, `[B, S]`; found once as long as these stay."""
        tasks = self._env.tasks
        played = [id(task) for task in tasks]
        if figure not in self._known or self._known[figure][0] != played:
            each = {id(task): task for task in tasks}
            found = {key: figure(self._env, task) for key, task in each.items() if isinstance(task, SupplyTask)}
            self._known[figure] = played, np.stack([found[key] for key in played])
        return self._known[figure][1]


class AsSold(Levels):
    """Orders what was asked for: by customers in the last step, by nodes downstream in this one; the fastest way."""

    name = "as_sold"

    def levels(self) -> Floats:
        """What is there, and what customers asked for beside; what is asked in this step comes to it by itself."""
        env = self._env
        return env.there() + np.where(env.flows.plan.fastest, env.flows.of(env.wanted, "target"), 0.0)


class BaseStock(Levels):
    """Orders up to the forecast over the lead time and a safety stock.

    Args:
        safety: Standard deviations of lead-time demand of each way, for a task.
        name: Name in tables.
    """

    def __init__(self, safety: OfTask, name: str) -> None:
        self.safety, self.name = safety, name

    def levels(self) -> Floats:
        """Forecast and safety stock."""
        mean, deviation = self._env.expected()
        return mean + self.by_world(self.safety) * deviation


class Tuned(Levels):
    """Orders up to levels that were tuned by simulation, and do not move."""

    name = "tuned"

    def levels(self) -> Floats:
        """The levels of each world's task."""
        return self.by_world(tuned_levels)


class ClarkScarf(Levels):
    """Plays the optimum of a serial system: each node's level is its echelon's, less that of those below."""

    name = "clark_scarf"

    def levels(self) -> Floats:
        """Local base-stock levels: the differences of the echelons'."""
        return self.by_world(local_levels)


def local_levels(env: SupplyChainEnv, task: SupplyTask) -> Floats:
    """Clark and Scarf's levels of each way, `[S]`."""
    optimum = list(clark_scarf(env.network_of(task)).echelon.values())
    return np.pad(np.array(optimum) - np.append(optimum[1:], 0.0), (0, env.size.ways - len(optimum)))
