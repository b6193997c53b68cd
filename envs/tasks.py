"""What a run fixes (who acts, in which action mode, whose reward counts) and what varies in it: tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.spreads import Spread


class AgentRole(StrEnum):
    """What agents of the domains that come with Entrepot are there to do; a domain of your own names its own roles."""

    EXECUTOR = "executor"
    HEDGER = "hedger"
    SUPPLIER = "supplier"
    MANUFACTURER = "manufacturer"
    DISTRIBUTOR = "distributor"
    RETAILER = "retailer"
    TENANT = "tenant"
    ALLOCATOR = "allocator"


def _nothing(value: object) -> bool:
    return not value


class AgentConfig(BaseModel):
    """One agent: its name, its role, and whatever else its domain wants to know of it.

    That (a trader's `initial_balance`) is carried along here, and checked by the domain's own kind of agent: see
    `typed_agents`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    agent_id: str = Field(min_length=1, description="Unique name of the agent.")
    role: str = Field("agent", pattern=r"^[a-z][a-z0-9_]*$", description="Role; agents of one role form one group.")


def typed_agents(agents: object) -> object:
    """What a domain's config is given as its agents, ready to become its own kind: for a pydantic `BeforeValidator`."""
    if isinstance(agents, (list, tuple)):
        return [a.model_dump(exclude_unset=True) if type(a) is AgentConfig else a for a in agents]
    return agents


class EnvConfig(BaseModel):
    """What stays fixed for a whole run: who acts, in which action mode, and whose reward counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action_mode: Literal["continuous", "discrete"] = Field(
        "continuous", description="`continuous`: Box in [-1, 1]; `discrete`: MultiDiscrete branches."
    )
    team_weight: float = Field(
        0.0, ge=0, le=1, description="Share of the team's mean reward in each agent's reward: 0 individual, 1 team."
    )
    recall: bool = Field(
        False,
        exclude_if=_nothing,
        description="Whether agents see, beside all else, what they did in the step before and what it earned.",
    )

    def located(self) -> dict[str, Any]:
        """Fields that name a file or folder there is, absolute: worlds may be made in another folder."""
        return {}


class Task(BaseModel):
    """One difficulty of a domain. Curriculum stages, evaluation scenarios and stress tests are all tasks.

    With fields that are `drawn` it is a distribution: every level, that is every episode of every world, plays a task
    of its own, drawn from the level's seed. What is scored is then a ratio of means over levels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("default", min_length=1, description="Name of the task in metrics and reports.")
    max_steps: int = Field(1000, ge=1, description="Steps after which an episode is truncated.")
    drawn: tuple[Spread, ...] = Field(
        (), exclude_if=_nothing, description="Fields that are drawn anew for every level, and from what."
    )

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        """Every field exists, is drawn once, and may take whatever can be drawn."""
        names = [spread.field for spread in self.drawn]
        for name in names:
            if name in ("name", "drawn") or name not in type(self).model_fields:
                allowed = ", ".join(field for field in type(self).model_fields if field not in ("name", "drawn"))
                raise ValueError(f"drawn: got the field {name!r}, allowed are {allowed}")
            if names.count(name) > 1:
                raise ValueError(f"drawn: got the field {name!r} twice, allowed is once")
        for _ in self.extremes():
            pass
        return self

    def extremes(self) -> Iterator[Task]:
        """Tasks without anything drawn, which must be allowed if all that can be drawn are; itself, if nothing is."""
        plain = self._with({})
        if not self.drawn:
            yield plain
        for spread in self.drawn:
            for value in spread.extremes():
                yield self._with({spread.field: value})

    def level(self, rng: np.random.Generator) -> Task:
        """The task of one level."""
        return self._with(
            {
                spread.field: spread.draw(rng, whole=type(getattr(self, spread.field)) is int and not spread.values)
                for spread in self.drawn
            }
        )

    def _with(self, values: Mapping[str, Any]) -> Self:
        if not self.drawn:
            return self
        return type(self).model_validate(self.model_dump(exclude={"drawn"}) | dict(values))

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Weight of each objective in the reward, by name; one not named weighs 1. A domain's task overrides it."""
        return {}
