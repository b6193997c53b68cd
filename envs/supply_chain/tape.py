"""What is kept of a step so that it can be played again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from envs.supply_chain.flows import Luck
from envs.supply_chain.plan import Bools, Floats, Ints, Size
from envs.supply_chain.wiring import Wiring


@dataclass(frozen=True)
class Moment:
    """A step on the tape.

    Attributes:
        began: Worlds whose episode begins with it, bool `[B]`.
        start: The goods before it; None where no world began.
        wiring, ways: The networks, and who orders by which way, `[B, A, K]`.
        weights: What objectives weigh, by unit of money and agent, `[B, R]`.
        ordered: What was ordered in the step before, `[B, S]`.
        levels, room: What was asked for, and how far that moves by 1 of the action, `[B, S]`.
        demand, luck: What customers asked for, `[B, M]`, and what chance decided.
    """

    began: Bools
    start: dict[str, Any] | None
    wiring: Wiring
    ways: Ints
    weights: Floats
    ordered: Floats
    levels: Floats
    room: Floats
    demand: Floats
    luck: Luck


@dataclass(frozen=True)
class Tape:
    """A rollout.

    Attributes:
        size: How large the networks are at most.
        parts: The seats of each role.
        moments: Its steps.
    """

    size: Size
    parts: dict[str, slice]
    moments: list[Moment] = field(default_factory=list)
