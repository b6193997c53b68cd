"""What a node sees: of its ways the goods, the forecast and the terms; of its customers what they wait for.

Quantities are shares of what passes through on average in a step, so that what is learned on one network means the same
on another, however large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.layout import EntityTable, ObservationLayout
from envs.supply_chain.flows import Flows, Luck, Standing
from envs.supply_chain.forecasts import Forecasts
from envs.supply_chain.plan import Bools, Floats, Ints, Size
from envs.supply_chain.seats import Hall, Seats, taken

OWN = ("space", "strength", "unmet")
"""Storage in use [share]; capacity that is left [share]; demand not met at once of late [share of mean demand]."""
WAYS = (
    "stock",
    "position",
    "due_next",
    "asked",
    "forecast",
    "deviation",
    "on_way",
    "open",
    "parts",
    "shut",
    "hold",
    "shortage",
    "lead",
    "lead_range",
    "price",
    "room",
    "minimum",
    "cycle",
    "made",
)
"""Of a product that can be ordered: stock; stock and all on order less all waited for; what arrives next; what was
asked for in the last step; forecast and its deviation; what is on its way, and what is still open, by this way; how
many steps' worth of the scarcest component there is; whether the way is shut; and what stays as it is in an episode:
holding cost and penalty as shares of the network's largest two; mean lead time and its range [20 and 10 steps]; price
beside the dearest way's; capacity, and smallest order; how long an economic order quantity lasts [steps] (Harris 1913),
which says what a fee means; whether it is made here."""
OF_CELLS, MOVING = WAYS.index("on_way"), WAYS.index("hold")
"""Features of a way's product at its node come first, then those of the way, and from here on those that stay."""
BUYERS = ("waiting", "asked", "share", "sold")  # the first two move
"""Of each who is supplied: what it waits for, what it last asked for, its share of all that leaves; whether it is the
node's own customers."""
MOST = 30.0
"""Observed shares are cut off here."""


@dataclass(frozen=True)
class Seen:
    """What there is to be seen.

    Attributes:
        flows, standing, forecasts, luck: As they stand.
        ordered: What was ordered in the last step, `[B, S]`.
        asked: What was asked of each cell in the last step, `[B, M]`.
        unmet: Demand not met at once of late, by node, `[B, N]`.
        alarm: Whether what is wrong can be seen, `[B]`.
    """

    flows: Flows
    standing: Standing
    forecasts: Forecasts
    luck: Luck
    ordered: Floats
    asked: Floats
    unmet: Floats
    alarm: Bools


def layout_of(hall: Hall, buyers: int) -> ObservationLayout:
    """The observation of every node."""
    ways = tuple(f"way_{index}" for index in range(hall.ways))
    customers = EntityTable("buyers", BUYERS, tuple(f"buyer_{index}" for index in range(buyers)))
    return ObservationLayout(OWN, WAYS, ways, 1, (customers,))


class Observer:
    """Writes observations: what stays as it is once an episode, all else in every step.

    Args:
        worlds: Worlds `B`.
        hall: Seats.
        buyers: Most ways and products that one node supplies customers by.
        size: How large the networks are at most.
    """

    def __init__(self, worlds: int, hall: Hall, buyers: int, size: Size) -> None:
        self.layout = layout_of(hall, buyers)
        self.size = size
        seats = sum(hall.agents.values())
        self.out = np.zeros((worlds, seats, self.layout.size), np.float32)
        ways, customers = self.layout.places
        self._ways_out, self._buyers_out = ways.values_of(self.out), customers.values_of(self.out)
        self._node_rows = np.zeros((worlds, seats), np.int64)
        self._way_rows = np.zeros((worlds, seats, hall.ways), np.int64)
        self._cell_rows = np.zeros((worlds, seats, hall.ways), np.int64)
        self._buyer_rows = np.zeros((worlds, seats, buyers), np.int64)
        self._lent = np.zeros((worlds, size.ways))
        # Tables with a row more than there are cells, ways and buyers, of zeros: that of whatever there is not.
        self._cells = np.zeros((worlds, size.cells + 1, OF_CELLS), np.float32)
        self._moving = np.zeros((worlds, size.ways + 1, MOVING - OF_CELLS), np.float32)
        self._asking = np.zeros((worlds, size.ways + size.cells + 1, 2), np.float32)

    def begin(self, worlds: Ints, flows: Flows, seats: Seats, supplies: Ints) -> None:
        """Writes what stays as it is in the episodes that some worlds begin.

        Args:
            worlds: The worlds, `[E]`.
            flows: The goods.
            seats: Who sits where.
            supplies: What each seat supplies, ways, then cells sold to customers from `S` on, `[B, A, Q]`; the number
                after the last where there is nothing.
        """
        size, plan = self.size, flows.plan
        ways, buyers = self.layout.places
        first = np.asarray(worlds)[:, None]
        self._node_rows[worlds] = seats.node[worlds] + first * (size.nodes + 1)
        self._way_rows[worlds] = seats.ways[worlds] + first[..., None] * (size.ways + 1)
        targets = np.pad(plan.target[worlds], ((0, 0), (0, 1)), constant_values=size.cells)
        of_seats = seats.ways[worlds].reshape(len(worlds), -1)
        cells = np.take_along_axis(targets, of_seats, axis=1).reshape(seats.ways[worlds].shape)
        self._cell_rows[worlds] = cells + first[..., None] * (size.cells + 1)
        self._buyer_rows[worlds] = supplies[worlds] + first[..., None] * (size.ways + size.cells + 1)
        source = np.where(plan.made, plan.parts[:, :, 0], plan.source)[worlds]
        needs = np.where(plan.made, plan.needs[:, :, 0], 1.0)[worlds]
        rate = np.pad(flows.wiring.rate[worlds], ((0, 0), (0, 1)), constant_values=1.0)
        self._lent[worlds] = needs / np.take_along_axis(rate, source, axis=1)
        self.out[worlds] = 0.0
        self.out[worlds, :, ways.exists] = seats.ways[worlds] < size.ways
        self.out[worlds, :, buyers.exists] = supplies[worlds] < size.ways + size.cells
        self._ways_out[worlds, ..., MOVING:] = taken(self._terms(worlds, flows), seats.ways[worlds])
        share = np.clip(plan.way_rate[worlds] * self._lent[worlds], 0.0, MOST)
        customers = np.ones((len(worlds), size.cells, 2))
        fixed = np.concatenate([np.stack([share, np.zeros_like(share)], axis=2), customers], axis=1)
        self._buyers_out[worlds, ..., 2:] = taken(fixed, supplies[worlds])

    def write(self, seen: Seen) -> NDArray[np.float32]:
        """Observations of all seats, `[B, A, D]`; the next call reuses the array."""
        self.out[:, :, : len(OWN)] = _rows(self._own(seen), self._node_rows)
        self._ways_out[..., :OF_CELLS] = _rows(self._write_cells(seen), self._cell_rows)
        self._ways_out[..., OF_CELLS:MOVING] = _rows(self._write_ways(seen), self._way_rows)
        self._buyers_out[..., :2] = _rows(self._write_buyers(seen), self._buyer_rows)
        return self.out

    def of_seats(self, table: NDArray[Any]) -> Any:
        """Rows of nodes, and of who is not there, `[B, N + 1, F]`, of each seat, `[B, A, F]`."""
        return _rows(table, self._node_rows)

    def state(self, seen: Seen) -> NDArray[np.float32]:
        """Of every cell: stock, what is on order, what is waited for, and what is expected, as shares of its rate."""
        there, cells = seen.standing, self.size.cells
        found = np.empty((len(there.stock), 4 * cells), np.float32)
        for place, part in enumerate((there.stock, there.coming, there.waiting, seen.forecasts.mean)):
            found[:, place * cells : (place + 1) * cells] = part / seen.flows.wiring.rate
        return np.clip(found, 0, MOST, out=found)

    def _own(self, seen: Seen) -> NDArray[np.float32]:
        """Of each node, `[B, N + 1, F]`."""
        plan, flows = seen.flows.plan, seen.flows
        used = flows.by_node(seen.standing.stock * plan.volume)
        found = np.zeros((len(used), flows.size.nodes + 1, len(OWN)), np.float32)
        found[:, :-1, 0] = np.where(np.isfinite(plan.storage), used / plan.storage, 0.0)
        found[:, :-1, 1] = np.where(plan.node, np.where(seen.alarm[:, None], seen.luck.strength, 1.0), 0.0)
        found[:, :-1, 2] = seen.unmet
        return found

    def _write_cells(self, seen: Seen) -> NDArray[np.float32]:
        """What moves of each cell, `[B, M + 1, F]`."""
        flows, there, found = seen.flows, seen.standing, self._cells
        rate, cells = flows.wiring.rate, found[:, :-1]
        cells[..., 0] = there.stock / rate
        cells[..., 1] = (there.stock + there.coming - there.waiting) / rate
        cells[..., 2] = flows.pool(flows.transit[0].sum(axis=0), "target", flows.size.cells) / rate
        cells[..., 3] = seen.asked / rate
        cells[..., 4] = seen.forecasts.mean / rate
        cells[..., 5] = np.sqrt(seen.forecasts.variance) / rate
        return np.clip(found, -MOST, MOST, out=found)

    def _write_ways(self, seen: Seen) -> NDArray[np.float32]:
        """What moves of each way, `[B, S + 1, F]`."""
        flows, there, found = seen.flows, seen.standing, self._moving
        rate, ways = flows.wiring.way_rate, found[:, :-1]
        ways[..., 0] = there.moving / rate
        ways[..., 1] = flows.open / rate
        ways[..., 2] = self._parts(flows, there.stock)
        ways[..., 3] = seen.luck.shut & seen.alarm[:, None]
        return np.clip(found, 0.0, MOST, out=found)

    def _parts(self, flows: Flows, stock: Floats) -> Floats:
        """How many steps' worth of the scarcest component there is, `[B, S]`; 0 where nothing is made."""
        found, making = np.zeros_like(flows.open), flows.wiring.making
        if len(making.ways):
            needed = making.needs * flows.wiring.way_rate.take(making.ways)
            steps = flows.wiring.of_parts(stock) / np.where(needed > 0, needed, 1.0)
            np.put(found, making.ways, np.minimum(steps.min(axis=0), MOST))
        return found

    def _terms(self, worlds: Ints, flows: Flows) -> Floats:
        """What stays of each way, `[E, S, F]`."""
        plan = flows.plan
        rows = np.arange(len(worlds))[:, None]
        target, price, way_rate = plan.target[worlds], plan.price[worlds], flows.wiring.way_rate[worlds]

        def of(table: Any) -> Any:
            return np.pad(table, ((0, 0), (0, 1)))[rows, target]

        hold, shortage = plan.hold[worlds], plan.shortage[worlds]
        largest = hold.max(axis=1, keepdims=True) + shortage.max(axis=1, keepdims=True)
        largest = np.where(largest > 0, largest, 1.0)
        dearest = np.zeros((len(worlds), flows.size.cells + 1))
        np.maximum.at(dearest, (np.broadcast_to(rows, target.shape), target), price)
        highest = dearest[rows, target]
        limit = plan.lane_capacity[worlds][rows, plan.lane[worlds]]
        limit = np.minimum(limit, plan.node_capacity[worlds][rows, plan.bound[worlds]])
        kept = of(hold) * way_rate
        shortest, longest = plan.shortest[worlds], plan.longest[worlds]
        columns = [
            of(hold / largest),
            of(shortage / largest),
            (shortest + longest) / 20,
            (longest - shortest) / 10,
            np.where(highest > 0, price / np.where(highest > 0, highest, 1.0), 0.0),
            limit / way_rate,
            plan.minimum[worlds] / way_rate,
            np.sqrt(2 * plan.order[worlds] / np.where(kept > 0, kept, 1.0)),
            plan.made[worlds],
        ]
        table: Floats = np.clip(np.stack(columns, axis=2, dtype=np.float64), -MOST, MOST)
        return table

    def _write_buyers(self, seen: Seen) -> NDArray[np.float32]:
        """What moves of each way and of each cell's customers, `[B, S + M + 1, F]`."""
        flows, found, rate = seen.flows, self._asking, seen.flows.wiring.rate
        ways, customers = found[:, : flows.size.ways], found[:, flows.size.ways : -1]
        ways[..., 0], ways[..., 1] = flows.open * self._lent, seen.ordered * self._lent
        customers[..., 0], customers[..., 1] = flows.backlog / rate, seen.asked / rate
        return np.clip(found, 0.0, MOST, out=found)


def _rows(table: NDArray[Any], numbers: Ints) -> NDArray[Any]:
    """Rows of a table `[B, X, F]` by their numbers in all worlds, one after the other, `[B, …, F]`."""
    return table.reshape(-1, table.shape[-1]).take(numbers, axis=0, mode="clip")
