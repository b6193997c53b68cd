"""What chance has in store for an episode, drawn when it begins: nobody sees it but those who must know all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import ndtr

from envs.resource_allocation.energy.config import EnergyTask
from envs.resource_allocation.energy.grid import Grid
from envs.resource_allocation.energy.plan import Floats, Ints, Plan, Size
from envs.streams import drawn_by


@dataclass
class Future:
    """Of `B` worlds, up to `T` steps; a world's own episode may be shorter.

    Attributes:
        kind: Kind of each battery, `[B, A]`.
        start: Step of the day at which the episode begins, `[B]`.
        moods: Deviations of demand, then of each renewable's weather, from one step before the first on, standard
            normals that go on from step to step, `[B, T + 1, 1 + R]`.
        demand: [MW], `[B, T]`.
        given: What renewables could give [MW], `[B, T]`.
        running: Units of each kind that run, from one step before the first on, `[B, T + 1, G]`.
    """

    kind: Ints
    start: Ints
    moods: Floats
    demand: Floats
    given: Floats
    running: Floats

    @classmethod
    def empty(cls, worlds: int, size: Size) -> Future:
        """Nothing happens."""
        return cls(
            kind=np.zeros((worlds, size.batteries), np.int64),
            start=np.zeros(worlds, np.int64),
            moods=np.zeros((worlds, 2, 1 + size.renewables)),
            demand=np.zeros((worlds, 1)),
            given=np.zeros((worlds, 1)),
            running=np.zeros((worlds, 2, size.generators)),
        )

    def _longer(self, steps: int) -> None:
        """Makes room for longer episodes."""
        missing = steps - self.demand.shape[1]
        if missing > 0:
            for field in fields(self)[2:]:
                array: Any = getattr(self, field.name)
                room = [(0, missing if axis == 1 else 0) for axis in range(array.ndim)]
                setattr(self, field.name, np.pad(array, room))

    def draw(
        self, worlds: Ints, grid: Grid, plan: Plan, task: EnergyTask, count: int, rngs: Sequence[np.random.Generator]
    ) -> None:
        """Draws an episode of each of some worlds `[E]` that play the same task.

        Args:
            worlds: The worlds.
            grid: Their grid.
            plan: The same as arrays, in this task.
            task: What they play.
            count: How many batteries there are.
            rngs: Where from, `[E]`.
        """
        steps = task.max_steps
        self._longer(steps)
        start = drawn_by(rngs, lambda rng: rng.integers(grid.day))
        luck = drawn_by(rngs, lambda rng: rng.random(count))
        kind = np.minimum((luck[..., None] >= plan.chance.cumsum()).sum(axis=2), len(grid.batteries) - 1)
        moods = drawn_by(rngs, lambda rng: rng.standard_normal((steps + 1, 1 + len(plan.sun))))
        rho = np.concatenate([plan.load_rho[None], plan.weather_rho])
        fresh = np.sqrt(1 - rho**2)
        for step in range(1, steps + 1):
            moods[:, step] = rho * moods[:, step - 1] + fresh * moods[:, step]
        hour = (start[:, None] + np.arange(steps)) % grid.day
        demand, given = weather(plan, hour, moods[:, 1:])
        self.kind[worlds], self.start[worlds] = 0, start
        self.kind[worlds, :count] = kind
        self.moods[worlds, : steps + 1] = moods
        self.demand[worlds, :steps], self.given[worlds, :steps] = demand, given
        self.running[worlds] = plan.units
        for place, generator in enumerate(grid.generators.values()):
            if generator.outage is not None and task.outages > 0:
                outage = generator.outage.model_copy(update={"chance": float(plan.fails[place])})
                names = tuple(f"unit_{unit}" for unit in range(generator.count))
                self.running[worlds, 1 : steps + 1, place] -= outage.drawn(steps, names, rngs).sum(axis=2)


def weather(plan: Plan, hour: Ints, moods: Floats) -> tuple[Floats, Floats]:
    """Demand, and what renewables could give, `[E, T]` [MW].

    Args:
        plan: A single grid.
        hour: Step of the day, `[E, T]`.
        moods: Deviations, `[E, T, 1 + R]`.
    """
    spread = plan.load_spread
    demand = plan.load[hour] * np.exp(spread * moods[..., 0] - spread**2 / 2)
    share = ndtr(plan.weather_mean + plan.weather_spread * moods[..., 1:])
    given = np.zeros(hour.shape)
    for place, sun in enumerate(plan.sun):
        given += sun[hour] * share[..., place]
    return demand, given
