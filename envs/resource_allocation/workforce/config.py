"""What a workforce run fixes (centres, how requests are written) and what a task varies: the day's level, absences."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.base import EnvConfig, Task
from envs.resource_allocation.workforce.centre import Centre, CentreError
from envs.resource_allocation.workforce.files import load_centre
from envs.synthetic.demand import Recorded
from envs.synthetic.workloads import Workload

OBJECTIVES = ("service", "wages", "fairness")
"""What the reward is the weighted sum of."""
COSTS = ("waiting",)
"""What is counted beside it: calls not answered in time [share of the calls of a mean step]."""


class WorkforceConfig(EnvConfig):
    """Which centres there are, and how requests are written."""

    team_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of all teams' mean reward in each team lead's; 1: they lend for the common good.",
    )
    centres: tuple[str, ...] = Field(
        ("bank",), min_length=1, description="Names of centres, or paths of YAML files; arrays fit the largest."
    )
    lent: float = Field(0.5, gt=0, le=1, description="Largest share of a team that can be lent to one other skill.")
    levels: int = Field(9, ge=2, description="Discrete mode: choices of a branch, evenly spaced from -1 to 1.")

    @model_validator(mode="after")
    def _readable(self) -> WorkforceConfig:
        try:
            count = len(self.loaded)
        except CentreError as error:
            raise ValueError(str(error)) from None
        if count < len(self.centres):
            raise ValueError(f"centres: got {list(self.centres)}, allowed are centres of different names")
        return self

    @cached_property
    def loaded(self) -> dict[str, Centre]:
        """The centres by name."""
        found = [load_centre(given) for given in self.centres]
        return {centre.name: centre for centre in found}

    def located(self) -> dict[str, Any]:
        """The centres that are files, absolute."""
        paths = [str(Path(given).absolute()) if Path(given).suffix else given for given in self.centres]
        return {"centres": tuple(paths)} if paths != list(self.centres) else {}


class Days(BaseModel):
    """How busy a day is beside a mean one: a factor that nobody is told.

    It is the product of one that all skills share and one of each skill's own, both gamma distributed with mean 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    common: float = Field(0.0, ge=0, le=1, description="Coefficient of variation of what all skills share.")
    own: float = Field(0.0, ge=0, le=1, description="Coefficient of variation of each skill's own.")
    recorded: Recorded | None = Field(
        None, description="A record of days, one of which, as a share of their mean, takes the place of the common one."
    )


class WorkforceTask(Task):
    """How busy the day is, who stays away, and what counts."""

    max_steps: int = Field(48, ge=1, description="Steps after which an episode is truncated; at most the day's.")
    centre: str = Field("", description="Name of one of the run's centres; empty: the first.")
    skills: int = Field(0, ge=0, description="Skills, the first so many of the centre's; 0: all of them.")
    load: float = Field(1.0, gt=0, le=5, description="Calls of a mean day, over what the centre's file says.")
    days: Days = Field(default_factory=Days, description="How days differ.")
    workload: Workload = Field(default_factory=Workload, description="How the rate of calls varies within the day.")
    absence: float = Field(0.0, ge=0, lt=1, description="Probability that a rostered worker stays away for the day.")
    lending: bool = Field(True, description="Whether teams may lend workers to other skills.")
    alpha: float = Field(1.0, ge=0, description="Aversion to inequality: 0 mean, 1 Nash, 2 harmonic, 50 the least.")
    fairness: float = Field(0.1, ge=0, description="Weight of fairness between skills.")
    wages: float = Field(1.0, ge=0, description="Weight of wages; they are money, as service is.")

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Service weighs 1: wages are in the same money."""
        return {"wages": self.wages, "fairness": self.fairness}
