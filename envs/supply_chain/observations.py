"""What a node sees: of its ways the goods, the forecast and the terms; of its customers what they wait for.

Quantities are shares of what passes through on average in a step, so that what is learned on one network means the same
on another, however large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.layout import EntityTable, ObservationLayout
from envs.supply_chain.flows import Flows, Luck
from envs.supply_chain.forecasts import Forecasts
from envs.supply_chain.plan import Bools, Floats, Ints
from envs.supply_chain.seats import Hall, Seats, taken

OWN = ("space", "strength", "unmet")
"""Storage in use [share]; capacity that is left [share]; demand not met at once of late [share of mean demand]."""
WAYS = (
    "stock",
    "position",
    "due_next",
    "on_way",
    "open",
    "asked",
    "forecast",
    "deviation",
    "lead",
    "lead_range",
    "price",
    "hold",
    "shortage",
    "room",
    "minimum",
    "fee",
    "parts",
    "shut",
    "made",
)
"""Of a product that can be ordered: stock; stock and all on order less all waited for; what arrives next; what is on
its way, and what is still open, by this way; what was asked for in the last step; forecast and its deviation; mean lead
time and its range [20 and 10 steps]; price beside the dearest way's; holding cost and penalty as shares of the
network's largest two; capacity, and smallest order; fee of an order, in steps of holding a mean order; how many steps'
worth of the scarcest component there is; whether the way is shut; whether it is made here."""
BUYERS = ("waiting", "asked", "share", "sold")
"""Of each who is supplied: what it waits for, what it last asked for, its share of all that leaves; whether it is the
node's own customers."""
MOST = 30.0
"""Observed shares are cut off here."""


@dataclass(frozen=True)
class Seen:
    """What there is to be seen.

    Attributes:
        flows, forecasts, luck: As they stand.
        ordered: What was ordered in the last step, `[B, S]`.
        asked: What was asked of each cell in the last step, `[B, M]`.
        unmet: Demand not met at once of late, by node, `[B, N]`.
        alarm: Whether what is wrong can be seen, `[B]`.
    """

    flows: Flows
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
    """Writes observations.

    Args:
        worlds: Worlds `B`.
        hall: Seats.
        buyers: Most ways and products that one node supplies customers by.
    """

    def __init__(self, worlds: int, hall: Hall, buyers: int) -> None:
        self.layout = layout_of(hall, buyers)
        self.hall = hall
        seats = sum(hall.agents.values())
        self.out = np.zeros((worlds, seats, self.layout.size), np.float32)

    def write(self, seen: Seen, seats: Seats, supplies: Ints) -> NDArray[np.float32]:
        """Observations of all seats, `[B, A, D]`.

        Args:
            seen: What there is.
            seats: Who sits where.
            supplies: What each seat supplies, ways, then cells sold to customers from `S` on, `[B, A, Q]`; the number
                after the last where there is nothing.
        """
        layout, out = self.layout, self.out
        ways, buyers = layout.places
        out[...] = 0.0
        out[:, :, : len(OWN)] = taken(self._own(seen), seats.node)
        table = taken(self._ways(seen), seats.ways)
        shape = out.shape[:2]
        out[:, :, ways.values] = table.reshape(*shape, -1)
        out[:, :, ways.exists] = seats.ways < seen.flows.size.ways
        out[:, :, buyers.values] = taken(self._buyers(seen), supplies).reshape(*shape, -1)
        out[:, :, buyers.exists] = supplies < seen.flows.size.ways + seen.flows.size.cells
        out *= (seats.node < seen.flows.size.nodes)[:, :, None]
        return out

    def _own(self, seen: Seen) -> Floats:
        """Of each node, `[B, N, F]`."""
        plan, flows = seen.flows.plan, seen.flows
        used = (flows.on_hand() * plan.volume).reshape(len(seen.alarm), flows.size.nodes, -1).sum(axis=2)
        strength = np.where(seen.alarm[:, None], seen.luck.strength, 1.0)
        return np.stack([np.where(np.isfinite(plan.storage), used / plan.storage, 0.0), strength, seen.unmet], axis=2)

    def _ways(self, seen: Seen) -> Floats:
        """Of each way, `[B, S, F]`."""
        flows, plan = seen.flows, seen.flows.plan
        cells = flows.size.cells
        target = plan.target
        rate = np.where(plan.rate > 0, plan.rate, 1.0)
        stock, waiting = flows.on_hand(), flows.waited_for()
        order = flows.on_order()
        position = stock + flows.pool(order, "target", cells) - waiting
        figures = np.stack(
            [
                stock / rate,
                position / rate,
                flows.pool(flows.transit[:, :, 0].sum(axis=2), "target", cells) / rate,
                seen.asked / rate,
                seen.forecasts.mean / rate,
                np.sqrt(seen.forecasts.variance) / rate,
                *_relative(plan.hold, plan.shortage),
            ],
            axis=2,
        )
        of = taken(figures, target)
        way_rate = np.where(plan.way_rate > 0, plan.way_rate, 1.0)
        dearest = np.zeros((len(rate), cells + 1))
        np.maximum.at(dearest, (np.arange(len(rate))[:, None], target), plan.price)
        highest = np.take_along_axis(dearest, target, axis=1)
        hold = flows.of(plan.hold, "target")
        limit = np.take_along_axis(plan.lane_capacity, plan.lane, axis=1)
        limit = np.minimum(limit, np.take_along_axis(plan.node_capacity, plan.bound, axis=1))
        parts = np.full(way_rate.shape, MOST)
        for index in range(flows.size.components):
            needs = plan.needs[:, :, index]
            there = flows.of(stock, f"parts{index}")
            parts = np.where(needs > 0, np.minimum(parts, there / np.where(needs > 0, needs * way_rate, 1.0)), parts)
        columns = [
            of[:, :, 0],
            of[:, :, 1],
            of[:, :, 2],
            (order - flows.open) / way_rate,
            flows.open / way_rate,
            of[:, :, 3],
            of[:, :, 4],
            of[:, :, 5],
            (plan.shortest + plan.longest) / 20,
            (plan.longest - plan.shortest) / 10,
            np.where(highest > 0, plan.price / np.where(highest > 0, highest, 1.0), 0.0),
            of[:, :, 6],
            of[:, :, 7],
            limit / way_rate,
            plan.minimum / way_rate,
            plan.order / np.where(hold > 0, hold * way_rate, 1.0),
            np.where(plan.made, parts, 0.0),
            seen.luck.shut & seen.alarm[:, None],
            plan.made,
        ]
        table: Floats = np.stack(columns, axis=2, dtype=np.float64)
        return np.clip(table, -MOST, MOST)

    def _buyers(self, seen: Seen) -> Floats:
        """Of each way and of each cell's customers, `[B, S + M, F]`."""
        flows, plan = seen.flows, seen.flows.plan
        source = np.where(plan.made, plan.parts[:, :, 0], plan.source)
        rate = np.take_along_axis(
            np.pad(np.where(plan.rate > 0, plan.rate, 1.0), ((0, 0), (0, 1)), constant_values=1.0), source, axis=1
        )
        own = np.where(plan.rate > 0, plan.rate, 1.0)
        needs = np.where(plan.made, plan.needs[:, :, 0], 1.0)
        ways = np.stack(
            [flows.open * needs / rate, seen.ordered * needs / rate, plan.way_rate * needs / rate, np.zeros_like(rate)],
            axis=2,
        )
        customers = np.stack([flows.backlog / own, seen.asked / own, np.ones_like(own), np.ones_like(own)], axis=2)
        return np.clip(np.concatenate([ways, customers], axis=1), 0.0, MOST)


def _relative(hold: Floats, shortage: Floats) -> tuple[Floats, Floats]:
    """Holding cost and penalty as shares of the sum of the network's largest of each, `[B, M]`."""
    largest = hold.max(axis=1, keepdims=True) + shortage.max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1.0)
    return hold / largest, shortage / largest
