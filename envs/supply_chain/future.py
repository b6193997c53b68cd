"""What chance has in store for an episode, drawn when it begins: nobody sees it but those who must know all."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from envs.supply_chain.config import SupplyTask
from envs.supply_chain.flows import Luck
from envs.supply_chain.network import Network, order_of
from envs.supply_chain.plan import Floats, Ints, Plan, Size
from envs.synthetic.demand import draw_demand


@dataclass
class Future:
    """Of `B` worlds, up to `T` steps; a world's own episode may be shorter.

    Attributes:
        demand: What customers ask for [units], `[B, T, M]`.
        lead: Lead times [steps], `[B, T, S]`.
        good: Yields, `[B, T, S]`.
        shut: Whether a way takes nothing, `[B, T, S]`.
        strength: Share of a node's capacity that is left, `[B, T, N]`.
    """

    demand: Floats
    lead: Ints
    good: Floats
    shut: NDArray[np.bool_]
    strength: Floats

    @classmethod
    def empty(cls, worlds: int, steps: int, size: Size) -> Future:
        """Nothing happens."""
        ways = (worlds, steps, size.ways)
        return cls(
            np.zeros((worlds, steps, size.cells)),
            np.ones(ways, np.int64),
            np.ones(ways),
            np.zeros(ways, np.bool_),
            np.ones((worlds, steps, size.nodes)),
        )

    def longer(self, steps: int) -> None:
        """Makes room for longer episodes."""
        missing = steps - self.demand.shape[1]
        if missing > 0:
            for field in fields(self):
                array = getattr(self, field.name)
                setattr(self, field.name, np.pad(array, ((0, 0), (0, missing), (0, 0)), mode="edge"))

    def draw(
        self, world: int, network: Network, plan: Plan, task: SupplyTask, size: Size, rng: np.random.Generator
    ) -> None:
        """Draws one world's episode."""
        steps, order = task.max_steps, order_of(network)
        sold = [(name, product) for name in order for product in network.nodes[name].sells]
        products = list(network.products)
        demand = draw_demand(
            [network.nodes[name].sells[product].demand for name, product in sold], steps, rng, spread=task.spread
        )
        wrong = task.disruptions
        if wrong.surges is not None:
            names = tuple(name for name, _ in sold)
            demand *= np.where(wrong.surges.drawn(steps, names, rng), wrong.surges.factor, 1.0)
        self.demand[world] = 0.0
        for column, (name, product) in enumerate(sold):
            cell = order.index(name) * size.products + products.index(product)
            self.demand[world, :steps, cell] = task.demand * demand[:, column]
        shape = (steps, size.ways)
        lead = rng.integers(plan.shortest, plan.longest + 1, shape)
        spread = rng.uniform(-1, 1, shape)
        self.good[world, :steps] = np.clip(plan.good + plan.spread * spread, 0.0, 1.0)
        self.shut[world], self.strength[world] = False, 1.0
        lanes = tuple(lane.name for lane in network.lanes)
        moved = np.flatnonzero(plan.lane < len(lanes))
        if wrong.lanes is not None:
            self.shut[world, :steps, moved] = wrong.lanes.drawn(steps, lanes, rng)[:, plan.lane[moved]].T
        if wrong.delays is not None:
            late = wrong.delays.drawn(steps, lanes, rng)[:, plan.lane[moved]]
            lead[:, moved] += wrong.delays.steps * late
        if wrong.nodes is not None:
            down = wrong.nodes.drawn(steps, tuple(order), rng)
            self.strength[world, :steps, : len(order)] = np.where(down, wrong.nodes.strength, 1.0)
        self.lead[world, :steps] = np.minimum(lead, size.horizon)

    def luck(self, clock: Ints) -> Luck:
        """What happens to each world in its present step."""
        worlds = np.arange(len(clock))
        return Luck(
            self.lead[worlds, clock], self.good[worlds, clock], self.shut[worlds, clock], self.strength[worlds, clock]
        )
