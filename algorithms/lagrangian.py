"""Multipliers of limits on costs: a state machine that knows nothing of networks, runners or Ray.

What is wanted is the policy of the highest return whose mean cost per episode stays within a limit,

    max J(pi)  subject to  J_c(pi) <= d_c  for every cost c.

Its Lagrangian is `J - sum_c lambda_c (J_c - d_c)`: the policy climbs it, and each multiplier `lambda_c >= 0`, what a
unit of the cost is worth in rewards, rises as long as the cost is above its limit (Altman 1999, "Constrained Markov
Decision Processes"). A multiplier that only integrates what is above the limit makes cost and multiplier swing around
each other for ever; a part in proportion damps that (Stooke, Achiam and Abbeel 2020, "Responsive Safety in
Reinforcement Learning by PID Lagrangian Methods", algorithm 2). With `e = J_c / d_c - 1` an update is

    I <- clip(I + s K_I e, 0, s most)
    lambda = clip(I + s (K_P m(e) + K_D max(m(e) - m'(e), 0)), 0, s most)

where `m` is a running mean, `m'` the one before, and `s` a unit, so that gains mean the same whatever rewards and costs
are counted in: the running mean of the deviation of the rewards' advantages over that of the cost's. With `lambda = s`
both weigh the same in what the policy follows; and where one thing is to be traded for the other, so they do at the
optimum, where their gradients cancel out. `K_P = K_D = 0` is dual ascent with the step size `s K_I`.

Which policy is held to the limit matters: training samples its actions, and what is examined and served afterwards does
not. So now and then both are played in the same worlds, and the running mean of the difference is added to what the
sampled episodes cost: it is the policy without exploration that ends at its limit.
Where actions are choices, the likeliest of which jumps, only the policy that samples can be held to a limit exactly:
set `exam_every: 0`, and serve it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]
UNIT_MEMORY = 0.9
"""What earlier iterations weigh in the running mean that is the multipliers' unit."""
SMALLEST = 1e-6
"""Least deviation of a cost's advantages, as a share of the rewards', that counts as one."""


class MultiplierSettings(BaseModel):
    """How multipliers follow what costs are above their limits.

    Their unit is what makes a cost weigh as much as the rewards do: the ratio of their advantages' deviations.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    integral: float = Field(
        gt=0,
        allow_inf_nan=False,
        description="What a cost of twice its limit adds to its multiplier in an iteration [units].",
    )
    proportional: float = Field(
        ge=0, allow_inf_nan=False, description="What it adds as long as it lasts [units]: damps swings."
    )
    derivative: float = Field(
        ge=0, allow_inf_nan=False, description="What a rise by the limit adds as long as it goes on."
    )
    smoothing: float = Field(
        ge=0, lt=1, description="What the past weighs in the running mean of both: 0 is the latest iteration alone."
    )
    first: float = Field(ge=0, allow_inf_nan=False, description="Multipliers at first [units].")
    most: float = Field(gt=0, allow_inf_nan=False, description="The most that a multiplier can be [units].")
    exam_every: int = Field(
        ge=0,
        description="Iterations between exams, which find how far the costs without exploration are from those with; "
        "0: none, and it is the policy that explores that is held to its limits.",
    )
    exam_episodes: int = Field(ge=1, description="Episodes that each of the two plays in an exam.")
    exam_memory: float = Field(
        ge=0, lt=1, description="What earlier exams weigh in the running mean of the difference."
    )


class Multipliers:
    """One multiplier for each limit.

    Args:
        limits: By cost, the most that its mean per episode may be.
        settings: How they follow.

    Attributes:
        names: The costs.
        values: The multipliers, `[C]` [reward a unit of cost].
        units: What gains are in, `[C]`; 0 before costs have ever varied.
        gap: Costs without exploration less those with it, `[C]`; 0 before the first exam.
        costs: What the costs came to at the last update, the gap included, `[C]`; NaN before the first.
    """

    def __init__(self, limits: Mapping[str, float], settings: MultiplierSettings) -> None:
        self.names = tuple(limits)
        self.settings = settings
        self._limits: Floats = np.array([limits[name] for name in self.names], np.float64)
        count = len(self.names)
        self._integral: Floats = np.zeros(count)
        self.values: Floats = np.zeros(count)
        self.units: Floats = np.zeros(count)
        self._measured: Floats = np.zeros(count)
        self.gap: Floats = np.zeros(count)
        self.costs: Floats = np.full(count, np.nan)
        self._mean: Floats = np.zeros(count)
        self._known = 0.0
        self._examined = 0.0

    def examine(self, with_exploration: Floats, without: Floats) -> None:
        """Takes the result of an exam into the gap: mean costs of both policies in the same worlds, `[C]` each."""
        memory = self.settings.exam_memory
        weight = memory * self._examined
        self.gap = (weight * self.gap + (1 - memory) * (without - with_exploration)) / (weight + 1 - memory)
        self._examined = weight + 1 - memory

    def measure(self, rewards: float, costs: Floats) -> None:
        """Takes deviations of an iteration's advantages into the units: the rewards', and each cost's `[C]`.

        Costs that do not vary say nothing, and the policy can do nothing about them.
        """
        varies = costs > SMALLEST * max(rewards, SMALLEST)
        first = varies & (self._measured == 0)
        weight = UNIT_MEMORY * self._measured
        found = (weight * self.units + (1 - UNIT_MEMORY) * rewards / np.where(varies, costs, 1.0)) / (
            weight + 1 - UNIT_MEMORY
        )
        self.units = np.where(varies, found, self.units)
        self._measured = np.where(varies, weight + 1 - UNIT_MEMORY, self._measured)
        self._integral = np.where(
            first, np.minimum(self.settings.first, self.settings.most) * self.units, self._integral
        )
        self.values = np.where(first, self._integral, self.values)

    def update(self, costs: Floats) -> None:
        """Moves the multipliers by what the episodes of an iteration cost, sampled as they were, mean `[C]`."""
        settings, most = self.settings, self.settings.most * self.units
        self.costs = costs + self.gap
        error = self.costs / self._limits - 1
        before, known = self._mean, self._known
        weight = settings.smoothing * known
        self._known = weight + 1 - settings.smoothing
        self._mean = (weight * before + (1 - settings.smoothing) * error) / self._known
        rise = np.maximum(self._mean - before, 0.0) if known else np.zeros_like(error)
        self._integral = np.clip(self._integral + self.units * settings.integral * error, 0.0, most)
        damping = settings.proportional * self._mean + settings.derivative * rise
        self.values = np.clip(self._integral + self.units * damping, 0.0, most)

    def forget(self) -> None:
        """Another task is played: what is known of costs is no longer true, what multipliers have come to is kept."""
        self.values = self._integral.copy()
        self.gap, self._examined = np.zeros_like(self.gap), 0.0
        self._mean, self._known = np.zeros_like(self._mean), 0.0
        self.costs = np.full_like(self.costs, np.nan)

    def penalised(self, advantages: NDArray[np.float32], of_costs: Mapping[str, NDArray[np.float32]]) -> Any:
        """Advantages of the Lagrangian, `[N]`: `(A - sum lambda_c A_c) / (1 + sum lambda_c)`.

        The divisor keeps the policy's step as large as it is without limits, however large multipliers grow (Ray,
        Achiam and Amodei 2019, "Benchmarking Safe Exploration in Deep Reinforcement Learning", section 5).

        Args:
            advantages: Of the rewards, `[N]`.
            of_costs: Of each cost, `[N]`.
        """
        found = advantages.astype(np.float64)
        for name, value in zip(self.names, self.values.tolist(), strict=True):
            found -= value * of_costs[name]
        return (found / (1 + self.values.sum())).astype(np.float32)

    def figures(self) -> dict[str, dict[str, float]]:
        """By kind of figure, then by cost: `multiplier`, and once there were episodes, `cost` and `cost_sampled`."""
        shown = {"multiplier": self.values, "cost": self.costs, "cost_sampled": self.costs - self.gap}
        return {
            kind: dict(zip(self.names, array.tolist(), strict=True))
            for kind, array in shown.items()
            if not np.isnan(array).any()
        }

    def get_state(self) -> dict[str, Any]:
        """All of it, as plain values."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {"names": list(self.names), "known": self._known, "examined": self._examined, **arrays}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned; limits that it does not know begin as new ones do."""
        for name in _ARRAYS:
            old = dict(zip(state["names"], state[name], strict=True))
            array = getattr(self, name)
            setattr(self, name, np.array([old.get(c, v) for c, v in zip(self.names, array.tolist(), strict=True)]))
        self._known, self._examined = state["known"], state["examined"]


_ARRAYS = ("values", "units", "gap", "costs", "_integral", "_mean", "_measured")
