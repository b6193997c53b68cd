"""What tenants have had so far: what they could have used, what they got of it, and figures of an episode."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envs.resource_allocation.plan import Bools, Floats, Ints
from envs.utility import jain, least

BINS, WIDTH = 96, 1.05
"""Slowdowns are counted in bins, each 5% wider than the one before: from 1 to 100."""


def quantile(counts: Floats, share: float) -> Floats:
    """The slowdown that a share of jobs does not exceed, `[E]`, from counts `[E, BINS]`; 0 where there are no jobs."""
    total = counts.sum(axis=1)
    place = (counts.cumsum(axis=1) >= share * total[:, None]).argmax(axis=1)
    return np.where(total > 0, WIDTH ** np.where(place > 0, place + 0.5, 0.0), 0.0)


@dataclass
class Accounts:
    """Sums over an episode, of `B` worlds.

    Attributes:
        wanted, got: Value of the work that a tenant could have had done, and had done, since it came, `[B, A]`.
        done, late, lost: Jobs of all tenants that were done, missed their deadlines, or were dropped by who
            left, `[B]`.
        slowdown, worst: Sum, and largest, of the time that jobs took over the time they take at least, `[B]`.
        slowdowns: How many jobs took how long beside that: one more bin a factor of `WIDTH`, `[B, BINS]`.
        used, there: What was asked for by tasks that ran, and what there was, summed over resources [shares of the
            cluster times steps], `[B]`.
        energy, carbon: [kWh] and [kg CO2e], `[B]`.
        evicted: Tasks that were evicted, `[B]`.
    """

    wanted: Floats
    got: Floats
    done: Floats
    late: Floats
    lost: Floats
    slowdown: Floats
    worst: Floats
    slowdowns: Floats
    used: Floats
    there: Floats
    energy: Floats
    carbon: Floats
    evicted: Floats

    @classmethod
    def zero(cls, worlds: int, tenants: int) -> Accounts:
        """Nothing yet."""
        wide = {"wanted": (worlds, tenants), "got": (worlds, tenants), "slowdowns": (worlds, BINS)}
        return cls(**{f.name: np.zeros(wide.get(f.name, (worlds,))) for f in fields(cls)})

    def begin(self, worlds: Ints) -> None:
        """Forgets."""
        for field in fields(self):
            getattr(self, field.name)[worlds] = 0.0

    def finish(self, world: Ints, slowdown: Floats) -> None:
        """Counts jobs that are done, by the time they took over the least.

        Args:
            world: World of each job, `[N]`.
            slowdown: Its slowdown, `[N]`, 1 or more.
        """
        self.done += np.bincount(world, minlength=len(self.done))
        self.slowdown += np.bincount(world, slowdown, len(self.done))
        np.maximum.at(self.worst, world, slowdown)
        place = np.minimum(np.log(slowdown) / np.log(WIDTH) + 1e-9, BINS - 1).astype(np.int64)
        self.slowdowns += np.bincount(world * BINS + place, minlength=self.slowdowns.size).reshape(-1, BINS)

    def service(self) -> Floats:
        """Share of what each tenant could have used that it got, `[B, A]`; 1 for who wanted nothing."""
        return np.where(self.wanted > 0, self.got / np.where(self.wanted > 0, self.wanted, 1.0), 1.0)

    def figures(self, worlds: Ints, who: Bools) -> dict[str, Floats]:
        """Figures `[E]` of who took part, `[E, A]`; 0 where one has no meaning."""
        of: dict[str, Any] = {field.name: getattr(self, field.name)[worlds] for field in fields(self)}
        service = self.service()[worlds]

        def ratio(top: Any, bottom: Any) -> Floats:
            return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)

        count = np.maximum(who.sum(axis=1), 1)
        return {
            "utilisation": ratio(of["used"], of["there"]),
            "service": np.where(who, service, 0.0).sum(axis=1) / count,
            "worst_service": least(service, who),
            "jain": jain(service, who),
            "on_time": ratio(of["done"], of["done"] + of["late"]),
            "slowdown": ratio(of["slowdown"], of["done"]),
            "slowdown_p95": quantile(of["slowdowns"], 0.95),
            "slowdown_p99": quantile(of["slowdowns"], 0.99),
            "worst_slowdown": of["worst"],
            "energy_kwh": of["energy"],
            "carbon_kg": of["carbon"],
            "evicted": of["evicted"],
        }

    def get_state(self) -> dict[str, Any]:
        """All of it, copied."""
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            getattr(self, name)[...] = array
