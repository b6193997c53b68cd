"""What a run fixes (who acts, in which action mode, whose reward counts) and what varies in it: tasks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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

    def located(self) -> dict[str, str]:
        """Fields that name a file or folder there is, absolute: worlds may be made in another folder."""
        return {}


class Task(BaseModel):
    """One difficulty of a domain. Curriculum stages, evaluation scenarios and stress tests are all tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("default", min_length=1, description="Name of the task in metrics and reports.")
    max_steps: int = Field(1000, ge=1, description="Steps after which an episode is truncated.")

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Weight of each objective in the reward, by name; one not named weighs 1. A domain's task overrides it."""
        return {}
