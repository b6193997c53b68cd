"""What a day has come to so far: calls and what became of them, workers and what they were paid."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envs.resource_allocation.workforce.calls import Tally
from envs.resource_allocation.workforce.plan import Bools, Floats, Ints
from envs.utility import least


@dataclass
class Accounts:
    """Sums since opening, of `B` worlds, `[B, S]` each.

    Attributes:
        arrived, answered, abandoned, prompt: Calls; `prompt` are those answered within their limit.
        delay: Time that those had waited who were answered or gave up [minutes].
        worked: Time that workers spent on the skill's calls [minutes].
        paid: Time that the team's workers were paid for [minutes].
        wages: Of the team [currency].
        called, sent: Workers called in and sent home.
        lent: Workers lent to other skills, summed over steps.
    """

    arrived: Floats
    answered: Floats
    abandoned: Floats
    prompt: Floats
    delay: Floats
    worked: Floats
    paid: Floats
    wages: Floats
    called: Floats
    sent: Floats
    lent: Floats

    @classmethod
    def zero(cls, worlds: int, skills: int) -> Accounts:
        """Nothing yet."""
        return cls(**{f.name: np.zeros((worlds, skills)) for f in fields(cls)})

    def begin(self, worlds: Ints) -> None:
        """Forgets."""
        for field in fields(self):
            getattr(self, field.name)[worlds] = 0.0

    def take(self, tally: Tally) -> None:
        """Counts the calls of a step."""
        for name in ("arrived", "answered", "abandoned", "prompt", "delay", "worked"):
            getattr(self, name)[...] += getattr(tally, name)

    def service(self) -> Floats:
        """Share of the calls that came which was answered within the limit, `[B, S]`; 1 where none came."""
        return np.where(self.arrived > 0, self.prompt / np.maximum(self.arrived, 1.0), 1.0)

    def figures(self, worlds: Ints, who: Bools) -> dict[str, Floats]:
        """Figures `[E]` of the skills there are, `[E, S]`; 0 where one has no meaning."""
        sums = {field.name: np.where(who, getattr(self, field.name)[worlds], 0.0).sum(axis=1) for field in fields(self)}

        def ratio(top: Floats, bottom: Floats) -> Floats:
            return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)

        return {
            "service_level": ratio(sums["prompt"], sums["arrived"]),
            "worst_service_level": least(self.service()[worlds], who),
            "wait": ratio(sums["delay"], sums["answered"] + sums["abandoned"]) * 60,
            "abandoned": ratio(sums["abandoned"], sums["arrived"]),
            "occupancy": ratio(sums["worked"], sums["paid"]),
            "wage_bill": sums["wages"],
            "called_in": sums["called"],
            "sent_home": sums["sent"],
            "lent": sums["lent"],
        }

    def get_state(self) -> dict[str, Any]:
        """All of it, copied."""
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            getattr(self, name)[...] = array
