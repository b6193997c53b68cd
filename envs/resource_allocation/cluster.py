"""What a cluster is made of: resources, machines, jobs, and tenants who share them.

Units: a step is a period (a minute, an hour), resources are counted in units of their own, money in any one currency.
A job is many small tasks: so many run at once, and it is done when so many task-steps have been worked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ClusterError(ValueError):
    """A cluster does not hang together; one line that names the machine, job or tenant."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resource(_Part):
    """Something that machines have and tasks need."""

    unit: str = Field(min_length=1, max_length=32, description="What it is counted in.")


class Machines(_Part):
    """Machines of one kind."""

    count: int = Field(ge=1, description="How many there are.")
    capacity: dict[Name, Positive] = Field(min_length=1, description="What each has, by resource.")
    idle: Amount = Field(0.0, description="Power that each draws when nothing runs [kW].")
    busy: Amount = Field(0.0, description="Power that each draws when full [kW].")

    @model_validator(mode="after")
    def _draws_more(self) -> Self:
        if self.busy < self.idle:
            raise ValueError(f"busy: got {self.busy:g}, allowed is {self.idle:g}, the power when idle, or more")
        return self


class Work(_Part):
    """How much work a job is: lognormal, whose tail is as heavy as its coefficient of variation says."""

    mean: Positive = Field(description="Mean [task-steps].")
    cv: Amount = Field(1.0, description="Coefficient of variation; 0: always the mean.")


class Job(_Part):
    """Jobs of one kind."""

    needs: dict[Name, Positive] = Field(min_length=1, description="What a running task takes, by resource.")
    width: Positive = Field(description="Most tasks that run at once.")
    work: Work | None = Field(None, description="How much work a job is; None: it never ends, as a service does.")
    slack: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Time to its deadline, in times it takes at least; None: no end."
    )
    value: Positive = Field(1.0, description="What the work is worth [currency a task-step]; paid when a job is done.")
    gang: Amount = Field(0.0, description="Fewest tasks that can run: with fewer none does.")
    priority: int = Field(0, ge=0, le=2, description="Where machines are overcommitted, the lowest are evicted first.")
    checkpoint: Amount = Field(0.0, description="Work that a task loses when it is stopped [task-steps].")
    usage: float = Field(1.0, gt=0, le=1, description="Mean share of what a task asks for that it really uses.")
    machines: tuple[Name, ...] = Field((), description="Kinds of machines that it can run on; none named: all.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.gang > self.width:
            raise ValueError(f"gang: got {self.gang:g}, allowed is at most {self.width:g}, the width")
        if self.work is None and self.slack is not None:
            raise ValueError("slack: allowed only with work: what never ends has no deadline")
        return self


class Tenant(_Part):
    """Tenants of one kind."""

    jobs: dict[Name, Positive] = Field(
        min_length=1, description="How often jobs of each kind come, beside those of other tenants [relative]."
    )
    weight: Positive = Field(1.0, description="How often a tenant is of this kind [relative].")
    quota: float | None = Field(
        None, gt=0, le=1, description="Most of the cluster that one may have, by its dominant share; None: all."
    )


class Cluster(_Part):
    """Machines, and who shares them.

    Raises:
        pydantic.ValidationError: If a name is unknown, or a task fits on no machine.
    """

    name: Name = Field(description="Name of the cluster.")
    resources: dict[Name, Resource] = Field(min_length=1, description="Resources by name.")
    machines: dict[Name, Machines] = Field(min_length=1, description="Machines by kind.")
    jobs: dict[Name, Job] = Field(min_length=1, description="Jobs by kind.")
    tenants: dict[Name, Tenant] = Field(min_length=1, description="Tenants by kind.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for kind, machines in self.machines.items():
            _known(f"machines.{kind}.capacity", machines.capacity, self.resources)
        for kind, job in self.jobs.items():
            _known(f"jobs.{kind}.needs", job.needs, self.resources)
            _known(f"jobs.{kind}.machines", job.machines, self.machines)
            if not any(self.fits(job, name) for name in job.machines or self.machines):
                raise ValueError(
                    f"jobs.{kind}.needs: got {_shown(job.needs)}, allowed is what fits on one of the machines "
                    f"{', '.join(job.machines or self.machines)}"
                )
        for kind, tenant in self.tenants.items():
            _known(f"tenants.{kind}.jobs", tenant.jobs, self.jobs)
            endless = {self.jobs[name].work is None for name in tenant.jobs}
            if len(endless) > 1:
                raise ValueError(f"tenants.{kind}.jobs: allowed are jobs that all end, or none of which does")
        return self

    def fits(self, job: Job, kind: str) -> bool:
        """Whether a task of a job fits on an empty machine of a kind, which it may run on."""
        capacity = self.machines[kind].capacity
        allowed = not job.machines or kind in job.machines
        return allowed and all(need <= capacity.get(name, 0.0) for name, need in job.needs.items())


def _known(key: str, names: Any, allowed: Mapping[str, Any]) -> None:
    for name in names:
        if name not in allowed:
            raise ValueError(f"{key}: got {name!r}, allowed are {', '.join(allowed)}")


def _shown(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in amounts.items())
