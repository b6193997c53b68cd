"""What an allocation run fixes (clusters, tenants, slots) and what a task varies: load, failures, what counts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.base import EnvConfig, Task
from envs.resource_allocation.cluster import Cluster, ClusterError
from envs.resource_allocation.files import load_cluster
from envs.synthetic.demand import Season
from envs.synthetic.disruption import Disruption
from envs.synthetic.workloads import Workload

OBJECTIVES = ("value", "fairness", "energy", "carbon")
"""What the reward is the weighted sum of."""
COSTS = ("late",)
"""What is counted beside it: work whose deadline has passed [share of the work that comes]."""


class AllocationConfig(EnvConfig):
    """Which clusters are shared, among how many tenants at most, and how requests are written."""

    team_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the team's mean reward in each tenant's; 1: they share for the common good.",
    )
    clusters: tuple[str, ...] = Field(
        ("cloud",), min_length=1, description="Names of clusters, or paths of YAML files; arrays fit the largest."
    )
    tenants: int = Field(8, ge=1, le=1000, description="Most tenants of any task.")
    slots: int = Field(4, ge=1, le=64, description="Jobs of a tenant that can run or be asked for at once.")
    passes: int = Field(3, ge=2, le=10, description="How often what is left of machines is handed out in a step.")
    start: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of what a job can use that 0 asks for: where learning begins. Where all ask for "
        "all nobody finds out what less is good for; where jobs must be done in time, little earns nothing.",
    )
    levels: int = Field(
        5, ge=2, description="Discrete mode: shares of a job's width that can be asked for, from 0 to 1."
    )

    @model_validator(mode="after")
    def _readable(self) -> AllocationConfig:
        try:
            count = len(self.loaded)
        except ClusterError as error:
            raise ValueError(str(error)) from None
        if count < len(self.clusters):
            raise ValueError(f"clusters: got {list(self.clusters)}, allowed are clusters of different names")
        return self

    @cached_property
    def loaded(self) -> dict[str, Cluster]:
        """The clusters by name."""
        found = [load_cluster(given) for given in self.clusters]
        return {cluster.name: cluster for cluster in found}

    def located(self) -> dict[str, Any]:
        """The clusters that are files, absolute."""
        paths = [str(Path(given).absolute()) if Path(given).suffix else given for given in self.clusters]
        return {"clusters": tuple(paths)} if paths != list(self.clusters) else {}


class Tariff(BaseModel):
    """Something that varies with the hour: a price, or how much carbon is in a kilowatt-hour."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float = Field(0.0, ge=0, allow_inf_nan=False, description="Mean [currency, or kg CO2e, a kWh].")
    season: Season | None = Field(None, description="The day's wave.")
    cv: float = Field(0.0, ge=0, le=5, description="Coefficient of variation around that, from step to step.")
    rho: float = Field(0.9, ge=0, lt=1, description="Correlation of one step's deviation with the next one's.")


class AllocationTask(Task):
    """Who shares what, how scarce it is, what goes wrong, and what counts."""

    max_steps: int = Field(100, ge=1, description="Steps after which an episode is truncated.")
    cluster: str = Field("", description="Name of one of the run's clusters; empty: the first.")
    tenants: int = Field(0, ge=0, description="Tenants; 0: as many as the run has room for.")
    load: float = Field(
        1.0, gt=0, le=20, description="Work that comes, or could be done, over what the scarcest resource allows."
    )
    workload: Workload = Field(default_factory=Workload, description="How arrivals vary.")
    failures: Disruption | None = Field(None, description="Machines that fail, and are repaired.")
    leaving: Disruption | None = Field(None, description="Tenants that leave, and come back.")
    oversubscription: float = Field(
        1.0, ge=1, le=5, description="What is granted over what there is, as tasks use less than they ask for."
    )
    liars: int = Field(0, ge=0, description="Tenants, the first ones, that ask for all they can use, whatever they do.")
    alpha: float = Field(1.0, ge=0, description="Aversion to inequality: 0 mean, 1 Nash, 2 harmonic, 50 the least.")
    over: Literal["run", "step"] = Field(
        "run", description="Whether what is shared evenly is all since a tenant came, or each step's by itself."
    )
    fairness: float = Field(1.0, ge=0, description="Weight of fairness beside value.")
    price: Tariff = Field(default_factory=Tariff, description="Price of energy.")
    carbon_price: float = Field(0.0, ge=0, description="Price of carbon [currency a kg CO2e].")
    carbon: Tariff = Field(default_factory=Tariff, description="Carbon in energy.")
    worth: float = Field(1.0, ge=0, description="Weight of the work's value.")

    @model_validator(mode="after")
    def _something_counts(self) -> AllocationTask:
        if self.worth == 0 and self.fairness == 0 and not self.drawn:
            raise ValueError("worth: got 0 beside fairness 0, allowed is one of them above 0: else nothing is gained")
        return self

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Energy weighs 1: it is money already."""
        return {"value": self.worth, "fairness": self.fairness, "carbon": self.carbon_price}
