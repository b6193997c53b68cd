"""Networks as arrays: which way leads from which cell to which, and every number that belongs to it.

A *cell* is a product at a node where it comes, numbered node by node. Arrays are sized for the largest network of a
run, so that worlds with different networks are stepped together; what a network lacks does not exist and never moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from envs.supply_chain.network import OUTSIDE, Network, NetworkError, Way

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Size:
    """How large arrays are.

    Attributes:
        nodes, cells, ways, lanes: Most of each.
        components: Most components of a recipe.
        horizon: Longest lead time [steps].
        ages: Longest shelf life [steps]; 1 if everything keeps.
    """

    nodes: int
    cells: int
    ways: int
    lanes: int
    components: int
    horizon: int
    ages: int

    @classmethod
    def of(cls, networks: Sequence[Network]) -> Self:
        """What holds each of the networks."""

        def most(count: Any) -> int:
            return max(1, *(count(network) for network in networks)) if networks else 1

        return cls(
            nodes=most(lambda n: len(n.nodes)),
            cells=most(lambda n: len(n.cells)),
            ways=most(lambda n: len(list(n.ways))),
            lanes=most(lambda n: len(n.lanes)),
            components=most(lambda n: max(len(p.recipe) for p in n.products.values())),
            horizon=most(lambda n: max(way.terms.lead_time.most for way in n.ways)),
            ages=most(lambda n: max(p.shelf_life for p in n.products.values())),
        )

    def holds(self, other: Size) -> bool:
        """Whether what fits `other` fits this, too."""
        return all(getattr(self, field.name) >= getattr(other, field.name) for field in fields(self))


@dataclass
class Plan:
    """One network, or those of `B` worlds with an axis before all others.

    Attributes:
        way: Whether a way exists, `[S]`.
        made: Whether it is made and not moved, `[S]`.
        source, target: Cells, `[S]`; `source` of what comes from outside or is made is the cell after the last.
        lane, bound: Lane whose capacity, and node whose capacity it takes, `[S]`; the number after the last if none.
        parts, needs: Cells and units of the components of what is made, `[S, C]`.
        rank: Place among the ways of its source, for allocation by priority, `[S]`.
        turn: When it is ordered, `[S]`: customers' suppliers first, so that an order is known upstream in the same
            step; of the ways to one cell the fastest first.
        fastest: Whether it is the fastest to its cell, `[S]`.
        shortest, longest: Lead time [steps], `[S]`.
        crossing: Whether later orders may overtake, `[S]`.
        price, order, transit, emissions, minimum, batch: As in `Terms`, `[S]`.
        good, spread: Yield and how far it is from its mean at most, `[S]`.
        lane_capacity: Units a step, `[E + 1]`.
        node_capacity: Units a step, `[N + 1]`.
        cell: Whether a cell exists, `[M]`.
        site: Its node, `[M]`; the number after the last if it does not exist.
        hold, stock, sale, shortage, volume: As in `Node`, `Sale` and `Product`, `[M]`.
        sold, lost: Whether it is sold to customers there, and whether what is short is lost, `[M]`.
        life: Shelf life [steps], 0 for ever, `[M]`.
        storage, overflow: As in `Node`, `[N]`.
        owner, seller: Node that orders, and that sends, `[S]`; the number after the last if it comes from outside or is
            made.
        level: What customers ask for on average [units a step], `[M]`.
        value: What a unit costs to bring there by the cheapest ways, yields included [currency], `[M]`.
        rate: What passes through on average [units a step], `[M]`; on each way, `[S]` (`way_rate`), if what can come by
            several ways comes evenly by all.
        node: Whether a node exists, `[N]`.
        lifo, priority: How a node issues and allocates, `[N]`.
    """

    way: Bools
    made: Bools
    source: Ints
    target: Ints
    lane: Ints
    bound: Ints
    owner: Ints
    seller: Ints
    parts: Ints
    needs: Floats
    rank: Ints
    turn: Ints
    fastest: Bools
    shortest: Ints
    longest: Ints
    crossing: Bools
    level: Floats
    value: Floats
    rate: Floats
    way_rate: Floats
    price: Floats
    order: Floats
    transit: Floats
    emissions: Floats
    minimum: Floats
    batch: Floats
    good: Floats
    spread: Floats
    lane_capacity: Floats
    node_capacity: Floats
    cell: Bools
    site: Ints
    hold: Floats
    stock: Floats
    sale: Floats
    shortage: Floats
    volume: Floats
    sold: Bools
    lost: Bools
    life: Ints
    storage: Floats
    overflow: Floats
    node: Bools
    lifo: Bools
    priority: Bools

    @classmethod
    def empty(cls, size: Size) -> Self:
        """A network without anything."""
        ways, cells, nodes, lanes = size.ways, size.cells, size.nodes, size.lanes
        arrays: dict[str, Any] = {
            "source": np.full(ways, cells),
            "target": np.full(ways, cells),
            "lane": np.full(ways, lanes),
            "bound": np.full(ways, nodes),
            "owner": np.full(ways, nodes),
            "seller": np.full(ways, nodes),
            "way_rate": np.zeros(ways),
            "site": np.full(cells, nodes),
            "level": np.zeros(cells),
            "value": np.zeros(cells),
            "rate": np.zeros(cells),
            "parts": np.full((ways, size.components), cells),
            "needs": np.zeros((ways, size.components)),
            "rank": np.zeros(ways, np.int64),
            "turn": np.zeros(ways, np.int64),
            "shortest": np.ones(ways, np.int64),
            "longest": np.ones(ways, np.int64),
            "good": np.ones(ways),
            "lane_capacity": np.full(lanes + 1, np.inf),
            "node_capacity": np.full(nodes + 1, np.inf),
            "life": np.zeros(cells, np.int64),
            "storage": np.full(nodes, np.inf),
            "overflow": np.zeros(nodes),
        }
        for count, flags, figures in (
            (
                ways,
                ("way", "made", "crossing", "fastest"),
                ("price", "order", "transit", "emissions", "minimum", "batch", "spread"),
            ),
            (cells, ("cell", "sold", "lost"), ("hold", "stock", "sale", "shortage", "volume")),
            (nodes, ("node", "lifo", "priority"), ()),
        ):
            arrays |= {name: np.zeros(count, np.bool_) for name in flags} | {name: np.zeros(count) for name in figures}
        return cls(**arrays)

    @classmethod
    def of(cls, network: Network, size: Size) -> Self:
        """A network as arrays.

        Raises:
            NetworkError: If it is larger than `size`.
        """
        needed = Size.of([network])
        if not size.holds(needed):
            raise NetworkError(f"network {network.name!r}: needs {needed}, allowed is at most {size}")
        plan = cls.empty(size)
        nodes = {name: place for place, name in enumerate(network.order)}
        cells = {cell: place for place, cell in enumerate(network.cells)}
        plan.node[: len(nodes)] = True
        plan.cell[: len(cells)] = True
        for place, way in enumerate(network.ways):
            plan._lay(place, way, network, nodes, cells)
        for place, lane in enumerate(network.lanes):
            plan.lane_capacity[place] = np.inf if lane.capacity is None else lane.capacity
        for name, place in nodes.items():
            node = network.nodes[name]
            plan.node_capacity[place] = np.inf if node.capacity is None else node.capacity
            plan.storage[place] = np.inf if node.storage is None else node.storage
            plan.overflow[place] = node.overflow
            plan.lifo[place] = node.issuing == "lifo"
            plan.priority[place] = node.allocation == "priority"
        for (name, product), at in cells.items():
            node, thing = network.nodes[name], network.products[product]
            plan.site[at], plan.volume[at], plan.life[at] = nodes[name], thing.volume, thing.shelf_life
            plan.hold[at], plan.stock[at] = node.of("hold", product), node.of("stock", product)
            sale = node.sells.get(product)
            if sale is not None:
                plan.sold[at], plan.lost[at] = True, sale.lost
                plan.sale[at], plan.shortage[at] = sale.price, sale.shortage
                plan.level[at] = sale.demand.level
        plan._take_turns()
        plan._pass_on()
        plan._appraise()
        return plan

    def _take_turns(self) -> None:
        """Says who orders when."""
        depth = np.zeros(len(self.cell) + 1, np.int64)  # how far each cell is from the customers at most
        ways = np.flatnonzero(self.way)
        for way in ways[::-1]:  # ways come upstream first, what a node makes after its lanes
            for cell in (int(self.source[way]), *map(int, self.parts[way])):
                depth[cell] = max(depth[cell], depth[self.target[way]] + 1)
        mean = self.shortest + self.longest
        ranks = [
            sorted(ways[self.target[ways] == self.target[way]], key=lambda rival: (mean[rival], rival)).index(way)
            for way in ways
        ]
        turns = list(zip(depth[self.target[ways]].tolist(), ranks, strict=True))
        numbers = {turn: number for number, turn in enumerate(sorted(set(turns)))}
        self.turn[ways] = [numbers[turn] for turn in turns]
        self.fastest[ways] = [rank == 0 for rank in ranks]

    def _pass_on(self) -> None:
        """Passes what is sold upstream, so that each cell and way knows what it moves on average."""
        ways = np.flatnonzero(self.way)
        target = self.target[ways]
        count = np.bincount(target, minlength=len(self.rate) + 1)
        rate = np.append(self.level, 0.0)
        # Ways come upstream first: backwards, all that a cell supplies is known before what it needs itself.
        for cell in dict.fromkeys(target[::-1].tolist()):
            for way in ways[target == cell]:
                share = rate[cell] / count[cell]
                rate[self.source[way]] += share
                np.add.at(rate, self.parts[way], share * self.needs[way])
        self.rate[:] = rate[:-1]
        self.way_rate[ways] = self.rate[target] / count[target] / self.good[ways]

    def _appraise(self) -> None:
        """Finds out what goods are worth: what was paid outside and for making; what nodes pay each other stays."""
        value = np.zeros(len(self.cell) + 1)
        for target in dict.fromkeys(self.target[self.way].tolist()):  # cells upstream first, as ways are
            paths = []
            for way in np.flatnonzero(self.way & (self.target == target)):
                parts = float((self.needs[way] * value[self.parts[way]]).sum())
                paid = 0.0 if self.seller[way] < len(self.node) else float(self.price[way])
                paths.append((paid + parts + value[self.source[way]]) / self.good[way])
            value[target] = min(paths)
        self.value[:] = value[:-1]

    def _lay(
        self, place: int, way: Way, network: Network, nodes: dict[str, int], cells: dict[tuple[str, str], int]
    ) -> None:
        """Writes down one way."""
        terms = way.terms
        self.way[place], self.made[place] = True, way.lane is None
        self.target[place], self.owner[place] = cells[way.target, way.product], nodes[way.target]
        if way.lane is None:
            self.bound[place] = nodes[way.target]
            for index, (component, units) in enumerate(network.products[way.product].recipe.items()):
                self.parts[place, index], self.needs[place, index] = cells[way.target, component], units
        else:
            self.lane[place] = [lane.name for lane in network.lanes].index(way.lane)
            self.rank[place] = self.lane[place]
            if way.source != OUTSIDE:
                self.source[place], self.seller[place] = cells[way.source, way.product], nodes[way.source]
                if not network.nodes[way.source].makes:
                    self.bound[place] = nodes[way.source]
        self.shortest[place], self.longest[place] = terms.lead_time.least, terms.lead_time.most
        self.crossing[place] = terms.crossing
        for name in ("price", "order", "transit", "emissions", "minimum", "batch"):
            getattr(self, name)[place] = getattr(terms, name)
        self.good[place], self.spread[place] = terms.yield_, terms.yield_spread

    def worlds(self, count: int) -> Plan:
        """The plan for `count` worlds alike, arrays with an axis before all others."""
        return Plan(**{f.name: np.repeat(getattr(self, f.name)[None], count, axis=0) for f in fields(self)})

    def copy(self) -> Plan:
        """The same, in arrays of its own."""
        return Plan(**{f.name: getattr(self, f.name).copy() for f in fields(self)})

    def put(self, world: int, plan: Plan) -> None:
        """Has one world play another network."""
        for field in fields(self):
            getattr(self, field.name)[world] = getattr(plan, field.name)
