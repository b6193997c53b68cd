"""What an energy run fixes (grids, batteries, forecasts) and what a task varies: number, uncertainty, objectives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from envs.base import EnvConfig, Task
from envs.resource_allocation.energy.files import load_grid
from envs.resource_allocation.energy.grid import Grid, GridError

OBJECTIVES = ("system", "profit", "carbon")
"""What the reward is the weighted sum of."""
COSTS = ("shed",)
"""What is counted beside it: demand that is not met [share of the demand]."""


class EnergyConfig(EnvConfig):
    """Which grids, how many batteries at most, and how far forecasts reach."""

    grids: tuple[str, ...] = Field(
        ("island",), min_length=1, description="Names of grids, or paths of YAML files; arrays fit the largest."
    )
    batteries: int = Field(20, ge=1, le=1000, description="Most batteries of any task.")
    horizon: int = Field(24, ge=2, le=200, description="Steps that forecasts reach ahead.")
    planned: bool = Field(
        True, description="Whether batteries see what stored energy would be worth in a plan of the fleet as one."
    )
    around: Literal["idle", "plan"] = Field(
        "idle",
        description="What 0 asks for, where learning begins, in continuous mode: nothing, or what the fleet would do "
        "if it were one battery.",
    )
    levels: int = Field(
        11, ge=3, description="Discrete mode: powers that can be chosen, from all out to all in; odd, so that 0 is one."
    )

    @model_validator(mode="after")
    def _readable(self) -> EnergyConfig:
        try:
            count = len(self.loaded)
        except GridError as error:
            raise ValueError(str(error)) from None
        if count < len(self.grids):
            raise ValueError(f"grids: got {list(self.grids)}, allowed are grids of different names")
        if self.levels % 2 == 0:
            raise ValueError(f"levels: got {self.levels}, allowed are odd numbers")
        return self

    @cached_property
    def loaded(self) -> dict[str, Grid]:
        """The grids by name."""
        found = [load_grid(given) for given in self.grids]
        return {grid.name: grid for grid in found}

    def located(self) -> dict[str, Any]:
        """The grids that are files, absolute."""
        paths = [str(Path(given).absolute()) if Path(given).suffix else given for given in self.grids]
        return {"grids": tuple(paths)} if paths != list(self.grids) else {}


class EnergyTask(Task):
    """How many batteries trade, what is uncertain, and what counts.

    By default they are a community that makes the system cheaper for all: the optimum is that of a social planner. With
    `profit` 1 and `system` 0 they are rivals in a market, each for itself.
    """

    max_steps: int = Field(48, ge=1, description="Steps after which an episode is truncated.")
    grid: str = Field("", description="Name of one of the run's grids; empty: the first.")
    batteries: int = Field(0, ge=0, description="Batteries; 0: as many as the run has room for.")
    size: float = Field(1.0, gt=0, le=1000, description="What power and energy of all batteries are multiplied by.")
    charged: float = Field(0.5, ge=0, le=1, description="Share of its energy that a battery has at first.")
    demand: float = Field(1.0, gt=0, le=10, description="What demand is multiplied by.")
    renewables: float = Field(1.0, ge=0, le=10, description="What renewables are multiplied by.")
    uncertainty: float = Field(
        1.0, ge=0, le=3, description="What the spread of demand and weather is multiplied by; 0: all is as expected."
    )
    outages: float = Field(0.0, ge=0, le=20, description="What the chance of outages is multiplied by; 0: none.")
    carbon_price: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Price of carbon [currency a kg CO2e]; generators pay it."
    )
    system: float = Field(1.0, ge=0, description="Weight of what the whole system saves.")
    profit: float = Field(0.0, ge=0, description="Weight of what a battery earns at the market's price.")
    carbon: float = Field(0.0, ge=0, description="Weight of carbon saved, beside its price.")

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """As the task says."""
        return {"system": self.system, "profit": self.profit, "carbon": self.carbon}
