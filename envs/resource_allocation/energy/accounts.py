"""What an episode comes to so far, and its figures."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envs.resource_allocation.energy.plan import Bools, Floats, Ints
from envs.utility import jain


@dataclass
class Accounts:
    """Sums over an episode, of `B` worlds.

    Attributes:
        without: What it would have cost without batteries [currency], `[B]`.
        saved: What batteries saved of that, their wear taken off and what they store counted [currency], `[B]`.
        demand, shed: What was asked for, and not met [MWh], `[B]`.
        given, spilled: What renewables could give, and what was not used of all that was given [MWh], `[B]`.
        carbon: [kg CO2e], `[B]`.
        peak: Highest price [currency a MWh], `[B]`.
        earned: What each battery earned at the market's price, wear and store counted [currency], `[B, A]`.
        cycles: What each gave, in times it holds, `[B, A]`.
    """

    without: Floats
    saved: Floats
    demand: Floats
    shed: Floats
    given: Floats
    spilled: Floats
    carbon: Floats
    peak: Floats
    earned: Floats
    cycles: Floats

    @classmethod
    def zero(cls, worlds: int, batteries: int) -> Accounts:
        """Nothing yet."""
        wide = {"earned", "cycles"}
        return cls(**{f.name: np.zeros((worlds, batteries) if f.name in wide else worlds) for f in fields(cls)})

    def begin(self, worlds: Ints) -> None:
        """Forgets."""
        for field in fields(self):
            getattr(self, field.name)[worlds] = 0.0

    def figures(self, worlds: Ints, who: Bools, energy: Floats, power: Floats) -> dict[str, Floats]:
        """Figures `[E]`; 0 where one has no meaning.

        Args:
            worlds: Which worlds.
            who: Which batteries there are, `[E, A]`.
            energy: What each holds [MWh], `[E, A]`.
            power: Of each [MW], `[E, A]`.
        """
        of: dict[str, Any] = {field.name: getattr(self, field.name)[worlds] for field in fields(self)}

        def ratio(top: Any, bottom: Any) -> Floats:
            return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)

        count = np.maximum(who.sum(axis=1), 1)
        return {
            "saved": ratio(of["saved"], of["without"]),
            "cost": (of["without"] - of["saved"]) / 1000,
            "shed_mwh": of["shed"],
            "peak_price": of["peak"],
            "curtailed": ratio(np.minimum(of["spilled"], of["given"]), of["given"]),
            "carbon_t": of["carbon"] / 1000,
            "cycles": of["cycles"].sum(axis=1) / count,
            "earned": ratio(of["earned"].sum(axis=1), power.sum(axis=1)),
            "jain": jain(ratio(np.maximum(of["earned"], 0.0), power), who),
        }

    def get_state(self) -> dict[str, Any]:
        """All of it, copied."""
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            getattr(self, name)[...] = array
