"""What chance has in store for an episode, drawn when it begins: nobody sees it but those who must know all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from envs.streams import drawn_by
from envs.supply_chain.config import SupplyTask
from envs.supply_chain.flows import Luck
from envs.supply_chain.network import Network
from envs.supply_chain.plan import Floats, Ints, Plan, Size
from envs.synthetic.demand import Customers


@dataclass(frozen=True)
class Places:
    """Where in a network chance strikes.

    Attributes:
        customers: Who asks.
        sold: The cells that they ask, `[K]`.
        shops: Names of the nodes that they ask, one for each.
        nodes, lanes: Names of all nodes and lanes.
    """

    customers: Customers
    sold: Ints
    shops: tuple[str, ...]
    nodes: tuple[str, ...]
    lanes: tuple[str, ...]

    @classmethod
    def of(cls, network: Network) -> Places:
        """Those of a network."""
        sold = [(place, *cell) for place, cell in enumerate(network.cells) if cell[1] in network.nodes[cell[0]].sells]
        return cls(
            Customers([network.nodes[name].sells[product].demand for _, name, product in sold]),
            np.array([place for place, _, _ in sold], np.int64),
            tuple(name for _, name, _ in sold),
            network.order,
            tuple(lane.name for lane in network.lanes),
        )

    def check(self, task: SupplyTask) -> None:
        """Raises ValueError if a task strikes where nothing is, or is longer than what is recorded."""
        wrong = task.disruptions
        for kind, disruption, allowed in (
            ("nodes", wrong.nodes, self.nodes),
            ("lanes", wrong.lanes, self.lanes),
            ("delays", wrong.delays, self.lanes),
            ("surges", wrong.surges, self.nodes),
        ):
            for place in () if disruption is None else disruption.places:
                if place not in allowed:
                    raise ValueError(f"disruptions.{kind}: got {place!r}, allowed are {', '.join(allowed)}")
        longest = self.customers.longest(task.span)
        if longest is not None and task.max_steps > longest:
            raise ValueError(
                f"max_steps: got {task.max_steps}, allowed is at most {longest}, the rows recorded in span "
                f"{list(task.span)}"
            )


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
        self,
        worlds: Ints,
        places: Places,
        plan: Plan,
        task: SupplyTask,
        horizon: int,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        """Draws an episode of each of some worlds `[E]` that play the same task."""
        steps, wrong = task.max_steps, task.disruptions
        shape = (steps, len(plan.way))
        demand = places.customers.draw(steps, rngs, spread=task.spread, span=task.span)
        if wrong.surges is not None:
            demand *= np.where(wrong.surges.drawn(steps, places.shops, rngs), wrong.surges.factor, 1.0)
        asked = np.zeros((len(worlds), steps, self.demand.shape[2]))
        asked[:, :, places.sold] = task.demand * demand
        self.demand[worlds, :steps] = asked
        luck = drawn_by(rngs, lambda rng: rng.random(shape))
        lead = plan.shortest + (luck * (plan.longest - plan.shortest + 1)).astype(np.int64)
        if plan.spread.any():
            luck = drawn_by(rngs, lambda rng: rng.uniform(-1, 1, shape))
            self.good[worlds, :steps] = np.clip(plan.good + plan.spread * luck, 0.0, 1.0)
        else:
            self.good[worlds, :steps] = plan.good
        moved = np.flatnonzero(plan.lane < len(places.lanes))
        shut = np.zeros(luck.shape, np.bool_)
        if wrong.lanes is not None:
            shut[:, :, moved] = wrong.lanes.drawn(steps, places.lanes, rngs)[:, :, plan.lane[moved]]
        if wrong.delays is not None:
            late = wrong.delays.drawn(steps, places.lanes, rngs)[:, :, plan.lane[moved]]
            lead[:, :, moved] += wrong.delays.steps * late
        self.shut[worlds, :steps], self.lead[worlds, :steps] = shut, np.minimum(lead, horizon)
        self.strength[worlds] = 1.0
        if wrong.nodes is not None:
            down = wrong.nodes.drawn(steps, places.nodes, rngs)
            self.strength[worlds, :steps, : len(places.nodes)] = np.where(down, wrong.nodes.strength, 1.0)

    def luck(self, clock: Ints) -> Luck:
        """What happens to each world in its present step."""
        worlds = np.arange(len(clock))
        return Luck(
            self.lead[worlds, clock], self.good[worlds, clock], self.shut[worlds, clock], self.strength[worlds, clock]
        )
