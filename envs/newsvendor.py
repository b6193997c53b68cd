"""How much to order of what does not keep, when nobody knows what demand is like: the smallest problem of adaptation.

As an episode begins each seller draws the rate of its demand, Gamma distributed, and is not told. Every period it
orders, Poisson demand comes, what is missing costs `underage` a unit and what is left over `overage`, and nothing is
carried on. All demand is seen, also what could not be met, so that nothing is learned by trying: what is best is the
quantile `underage / (underage + overage)` of what demand can be after all that was seen (Scarf 1959; Azoury 1985). Who
remembers nothing knows the last period at most. `policies.heuristics.newsvendor` has the exact costs of all of these,
and of who knows the rate, so that what a learner remembers can be measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain


class NewsvendorConfig(EnvConfig):
    """How many sell, and how much they can order."""

    num_agents: int = Field(1, ge=1, description="Sellers `A`, each with a rate of its own.")
    max_order: float = Field(150.0, gt=0, allow_inf_nan=False, description="Largest order [units].")
    num_choices: int = Field(76, ge=2, description="Choices of a discrete action.")


class NewsvendorTask(Task):
    """What demand can be like, and what it costs to be wrong."""

    max_steps: int = Field(20, ge=1, description="Periods of an episode.")
    shape: float = Field(2.0, gt=0, allow_inf_nan=False, description="Shape of the rate's Gamma distribution.")
    scale: float = Field(10.0, gt=0, allow_inf_nan=False, description="Its scale [units a period].")
    underage: float = Field(9.0, gt=0, allow_inf_nan=False, description="Cost of a unit that is missing.")
    overage: float = Field(1.0, gt=0, allow_inf_nan=False, description="Cost of a unit that is left over.")


class NewsvendorEnv(BatchedEnv):
    """Unknown demand of what does not keep.

    Observation: how much of the episode is over, and the last period's demand. Action: the root of the order, as a
    share of the largest order's: a Poisson variable's deviation grows with the root of its rate, so that a change of an
    action weighs about the same at any rate. Reward: minus the period's cost. State: the rates.

    Args:
        config: Sizes and modes.
        num_worlds: Number of worlds `B`.
        task: The task to begin with.
        first_world: Number of the first world.

    Attributes:
        rates: Of each seller's demand, float64 `[B, A]`; no seller sees them.
        seen: Demand since the episode began, added up, `[B, A]`.
        last: Demand of the last period, 0 in the first, `[B, A]`.
    """

    GROUP = "sellers"

    def __init__(
        self, config: NewsvendorConfig, num_worlds: int, *, task: NewsvendorTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        size = config.num_agents
        space = (
            Box(-1, 1, (1,), np.float32) if config.action_mode == "continuous" else MultiDiscrete([config.num_choices])
        )
        ids = tuple(f"seller_{number}" for number in range(size))
        super().__init__(
            num_worlds,
            [AgentGroup(self.GROUP, ids, space, ObservationLayout(("age", "demand")))],
            state_size=size,
            task=task or NewsvendorTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self.rates = np.zeros((num_worlds, size))
        self.seen: IntArray = np.zeros((num_worlds, size), np.int64)
        self.last: IntArray = np.zeros((num_worlds, size), np.int64)
        self._demand: IntArray = np.zeros((num_worlds, 1, size), np.int64)  # of all periods of the episode

    def orders(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        """What actions `[B, A, 1]` order, `[B, A]`."""
        share = actions[..., 0].astype(np.float64)
        share = (share + 1) / 2 if self.config.action_mode == "continuous" else share / (self.config.num_choices - 1)
        return self.config.max_order * share**2

    def actions_of(self, orders: NDArray[Any]) -> NDArray[Any]:
        """The actions that order `[B, A]`, or the nearest there are, `[B, A, 1]`."""
        share = np.sqrt(np.clip(orders / self.config.max_order, 0, 1))[..., None]
        if self.config.action_mode == "continuous":
            return (2 * share - 1).astype(np.float32)
        return np.rint(share * (self.config.num_choices - 1)).astype(np.int64)

    def of_tasks(self, field: str) -> NDArray[np.float64]:
        """A field of each world's task, `[B, 1]`."""
        return np.array([[float(getattr(task, field))] for task in self.tasks])

    def _begin(self, worlds: IntArray) -> None:
        longest = max(task.max_steps for task in self.tasks)
        if longest > self._demand.shape[1]:
            more = np.zeros((self.num_worlds, longest - self._demand.shape[1], self._demand.shape[2]), np.int64)
            self._demand = np.concatenate([self._demand, more], axis=1)
        for world in worlds:  # a world's draws come from its own stream, those of a whole episode at once
            task, stream = self.tasks[world], self.streams.generators[world]
            assert isinstance(task, NewsvendorTask)
            self.rates[world] = stream.gamma(task.shape, task.scale, self.rates.shape[1])
            size = (task.max_steps, self.rates.shape[1])
            self._demand[world, : task.max_steps] = stream.poisson(self.rates[world], size)
        self.seen[worlds] = self.last[worlds] = 0

    def _advance(self, actions: Actions) -> Outcome:
        demand = self._demand[np.arange(self.num_worlds), self.clock]
        over = self.orders(actions[self.GROUP]) - demand
        cost = np.where(over > 0, self.of_tasks("overage") * over, -self.of_tasks("underage") * over)
        self.seen += demand
        self.last[...] = demand
        return Outcome({self.GROUP: -cost.astype(np.float32)}, {self.GROUP: np.zeros(cost.shape, np.bool_)})

    def _observe(self) -> Observation:
        age = np.broadcast_to(self.clock[:, None] / self.of_tasks("max_steps"), self.last.shape)
        seen = np.stack([age, self.last], axis=2).astype(np.float32)
        return Observation({self.GROUP: seen}, {}, {}, self.rates.astype(np.float32))

    def _metrics(self, worlds: IntArray) -> dict[str, NDArray[np.float64]]:
        earned = self._ledger.returns[self.GROUP][worlds].mean(axis=1)
        return {"period_cost": -earned / self.clock[worlds]}

    def _get_state(self) -> dict[str, Any]:
        arrays = {"rates": self.rates, "seen": self.seen, "last": self.last, "demand": self._demand}
        return {name: array.copy() for name, array in arrays.items()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.rates[...], self.seen[...], self.last[...] = state["rates"], state["seen"], state["last"]
        self._demand = state["demand"].copy()


DOMAIN = Domain(
    "newsvendor",
    "Newsvendor: orders of what does not keep, for demand that has to be found out.",
    NewsvendorConfig,
    NewsvendorTask,
    NewsvendorEnv,
    baselines="policies.heuristics.newsvendor:BASELINES",
)
