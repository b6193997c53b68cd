"""What goes wrong: nodes and lanes that stand still, lead times that grow, demand that surges.

Each is a two-state Markov chain: where all is well it breaks with probability `chance` a step, and is mended with
probability `1 / length`, so that it stands still for `length` steps on average and a share
`chance / (chance + 1 / length)` of the time. Every episode begins with all well.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from envs.synthetic.disruption import Disruption

Share = Annotated[float, Field(ge=0, le=1)]


class Outage(Disruption):
    """A node makes and sends less, or nothing; a lane takes nothing."""

    strength: Share = Field(0.0, description="Share of a node's capacity that is left; a node without a limit: 0 or 1.")


class Delay(Disruption):
    """What is sent takes longer."""

    steps: int = Field(ge=1, le=20, description="How much longer [steps].")


class Surge(Disruption):
    """Customers ask for more, or less."""

    factor: float = Field(ge=0, allow_inf_nan=False, description="What demand is multiplied by.")


class Disruptions(BaseModel):
    """All that can go wrong in a task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: Outage | None = None
    lanes: Disruption | None = None
    delays: Delay | None = None
    surges: Surge | None = None
    alarm: bool = Field(True, description="Whether agents see what is wrong with their own node and its lanes.")

    @classmethod
    def none(cls) -> Self:
        """All is well."""
        return cls()
