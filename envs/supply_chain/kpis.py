"""Figures of an episode that an operations researcher asks for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envs.supply_chain.flows import Flows, Moved
from envs.supply_chain.network import ROLES, Network
from envs.supply_chain.plan import Floats, Ints, Plan


@dataclass
class Kpis:
    """Sums over an episode, of `B` worlds.

    Attributes:
        demand, at_once: What customers asked for, and got in the same step [units], `[B]`.
        chances, met: How often some product was asked for somewhere, and all of it was there, `[B]`.
        stock, sold: Stock at the end of steps, and what was sold, in units of each cell's mean rate, `[B]`.
        spoilt: What was thrown away [units], `[B]`.
        emissions: [kg CO2e], `[B]`.
        steps: Steps, `[B]`.
        first, second: Sums, and sums of squares, of what each role ordered as a share of its mean rate, `[B, 4]`.
        base, square: The same of what customers asked for, `[B]`.
    """

    demand: Floats
    at_once: Floats
    chances: Floats
    met: Floats
    stock: Floats
    sold: Floats
    spoilt: Floats
    emissions: Floats
    steps: Floats
    first: Floats
    second: Floats
    base: Floats
    square: Floats

    @classmethod
    def zero(cls, worlds: int) -> Kpis:
        """Nothing yet."""
        wide = {"first", "second"}
        return cls(**{f.name: np.zeros((worlds, len(ROLES)) if f.name in wide else worlds) for f in fields(cls)})

    def begin(self, worlds: Ints) -> None:
        """Forgets."""
        for field in fields(self):
            getattr(self, field.name)[worlds] = 0.0

    def add(self, flows: Flows, moved: Moved, demand: Floats, at_once: Floats, level: Floats, shares: Floats) -> None:
        """Adds a step.

        Args:
            flows: The goods after it.
            moved: What moved in it.
            demand: What customers asked for, `[B, M]`.
            at_once: What of that they got, `[B, M]`.
            level: What they ask for on average, `[B, M]`.
            shares: What a unit ordered by each way is of what its role orders on average, `[B, S, 4]`; see `shares_of`.
        """
        plan, rate = flows.plan, flows.wiring.rate
        total, some = demand.sum(axis=1), demand > 0
        self.demand += total
        self.at_once += at_once.sum(axis=1)
        self.chances += some.sum(axis=1)
        self.met += (some & (at_once >= demand)).sum(axis=1)
        self.stock += (flows.standing().stock / rate).sum(axis=1)
        self.sold += (moved.served / rate).sum(axis=1)
        if flows.spoils:
            self.spoilt += moved.spoilt.sum(axis=1) + moved.spoilt_transit.sum(axis=1)
        self.emissions += (plan.emissions * moved.sent).sum(axis=1)
        self.steps += 1.0
        share = np.matmul(moved.ordered[:, None], shares)[:, 0]  # world by world, whatever B is
        self.first += share
        self.second += share**2
        asked = total / np.maximum(level.sum(axis=1), 1e-12)
        self.base += asked
        self.square += asked**2

    def figures(self, worlds: Ints) -> dict[str, Floats]:
        """Figures `[E]`; 0 where one has no meaning.

        Fill rate (beta): demand met at once. Cycle service (alpha): how often all of it was. Turns: how often stock is
        sold over in a year of 250 steps. Bullwhip: variance of a role's orders over that of customers' demand, each as
        shares of their mean rates.
        """
        of = {field.name: getattr(self, field.name)[worlds] for field in fields(self)}

        def ratio(top: Any, bottom: Any) -> Floats:
            return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)

        steps = np.maximum(of["steps"], 1.0)
        variance = of["square"] / steps - (of["base"] / steps) ** 2
        found = {
            "fill_rate": ratio(of["at_once"], of["demand"]),
            "cycle_service": ratio(of["met"], of["chances"]),
            "turns": 250 * ratio(of["sold"], of["stock"]),
            "spoilt": of["spoilt"],
            "emissions_kg": of["emissions"],
        }
        for place, role in enumerate(ROLES):
            own = of["second"][:, place] / steps - (of["first"][:, place] / steps) ** 2
            there = of["first"][:, place] > 0
            found[f"bullwhip_{role}"] = np.where(there & (variance > 1e-12), own / np.maximum(variance, 1e-12), 0.0)
        return found


def shares_of(plan: Plan, network: Network) -> Floats:
    """What a unit ordered by each way of a network is of its mean rate, mean over its role's ways, `[S, 4]`."""
    roles = [ROLES.index(network.nodes[name].role) for name in network.order]
    ways = np.flatnonzero(plan.way)
    found = np.zeros((len(plan.way), len(ROLES)))
    rates = plan.way_rate[ways]
    found[ways, np.array(roles)[plan.owner[ways]]] = 1.0 / np.where(rates > 0, rates, 1.0)
    return found / np.maximum((found > 0).sum(axis=0), 1)
