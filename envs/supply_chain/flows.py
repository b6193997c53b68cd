"""Goods in `B` networks at once: what is ordered is sent as far as there is any, arrives, is sold, and spoils.

One step:

1. *Order*: what is ordered joins what is still open from earlier.
2. *Send*: of each open order as much as lanes, nodes and stock allow. Capacity is shared in proportion to what is asked
   for, and so is stock, or by priority: what is made first, then lane by lane. Making takes its components now.
3. *Arrive*: what was sent `L - 1` steps ago joins the stock, so that with a lead time of 1 it is there in this step.
4. *Serve*: customers are served from stock; what is short waits, or is lost.
5. *Spoil*: what has no life left is thrown away.

Every unit is somewhere: what is bought, made and there at the start is what is in stock, on its way, used, sold,
scrapped or spoilt (`tests/envs/supply_chain/test_flows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.supply_chain.plan import Bools, Floats, Ints, Plan, Size
from envs.supply_chain.wiring import Wiring


@dataclass
class Luck:
    """What chance decides in a step.

    Attributes:
        lead: Lead times of what is sent now [steps], `[B, S]`, from 1 to the horizon.
        good: Share of what is sent now that will be any good, `[B, S]`.
        shut: Ways on which nothing is sent now, `[B, S]`.
        strength: Share of its capacity that each node has now, `[B, N]`.
    """

    lead: Ints
    good: Floats
    shut: Bools
    strength: Floats


@dataclass
class Moved:
    """What moved in a step [units].

    Attributes:
        ordered: `[B, S]`, after minima and batches.
        sent: `[B, S]`; of what is made: begun.
        scrapped: Of what was sent, what is no good, `[B, S]`.
        transit: On its way, what was just sent included and before anything arrived, `[B, S]`.
        arrived: `[B, S]`.
        used: Components taken, `[B, M]`.
        left: Stock after sending, before anything arrived, `[B, M]`.
        served: Sold to customers, `[B, M]`.
        lost: Demand that was lost, `[B, M]`.
        spoilt: In stock, `[B, M]`.
        spoilt_transit: On its way, `[B, S]`.
    """

    ordered: Floats
    sent: Floats
    scrapped: Floats
    transit: Floats
    arrived: Floats
    used: Floats
    left: Floats
    served: Floats
    lost: Floats
    spoilt: Floats
    spoilt_transit: Floats


@dataclass
class Standing:
    """What is where.

    Attributes:
        stock: Of all ages, `[B, M]`.
        moving: On its way, `[B, S]`.
        coming: On order and not arrived, `[B, M]`.
        waiting: What customers, those downstream and makers at the node wait for, `[B, M]`.
    """

    stock: Floats
    moving: Floats
    coming: Floats
    waiting: Floats


class Flows:
    """The goods of all worlds.

    Args:
        num_worlds: Worlds `B`.
        size: How large the networks are at most.

    Attributes:
        plan, wiring: The networks, an axis of worlds before all others; new objects when they change.
        stock: By age, `[G, B, M]`: index `g` keeps for `g + 1` more steps; what keeps for ever is in the last.
        transit: On its way, by the steps until it arrives, and by age, `[H, G, B, S]`; the first arrives next.
        open: Ordered and not sent yet, `[B, S]`.
        backlog: What customers wait for, `[B, M]`.
        latest: Steps until the last that was sent arrives, `[B, S]`.
    """

    def __init__(self, num_worlds: int, size: Size) -> None:
        self.size = size
        worlds, ways, cells, ages = num_worlds, size.ways, size.cells, size.ages
        self.plan = Plan.empty(size).worlds(worlds)
        self.stock = np.zeros((ages, worlds, cells))
        self.transit = np.zeros((size.horizon, ages, worlds, ways))
        self.open = np.zeros((worlds, ways))
        self.backlog = np.zeros((worlds, cells))
        self.latest = np.zeros((worlds, ways), np.int64)
        self._played: list[Plan | None] = [None] * worlds
        self._standing: Standing | None = None
        self.wiring = Wiring(self.plan, size)

    def begin(self, worlds: Ints, plans: list[Plan]) -> None:
        """Starts networks anew, with the stock that they start with."""
        self._install(worlds.tolist(), plans)
        self._standing = None
        self.stock[:, worlds] = self._fresh(self.plan.life[worlds]) * self.plan.stock[worlds]
        self.transit[:, :, worlds] = 0.0
        self.open[worlds], self.backlog[worlds], self.latest[worlds] = 0.0, 0.0, 0

    def _install(self, worlds: Sequence[int], plans: Sequence[Plan]) -> None:
        """Has worlds play networks, where they do not already."""
        changed = [(world, plan) for world, plan in zip(worlds, plans, strict=True) if self._played[world] is not plan]
        if not changed:
            return
        self.plan = self.plan.copy()  # whoever keeps the one before may count on it
        for world, plan in changed:
            self.plan.put(world, plan)
            self._played[world] = plan
        self.wiring = Wiring(self.plan, self.size)

    @property
    def spoils(self) -> bool:
        """Whether anything does."""
        return self.wiring.spoils

    # -- what is where ---------------------------------------------------------------------------------------------

    def on_hand(self) -> Floats:
        """Stock of all ages, `[B, M]`."""
        total: Floats = self.stock.sum(axis=0)
        return total

    def on_order(self) -> Floats:
        """Ordered by each way and not arrived, `[B, S]`."""
        return self.moving() + self.open

    def standing(self) -> Standing:
        """What is where, counted once until goods move again."""
        if self._standing is None:
            moving = self.moving()
            coming = self.pool(moving + self.open, "target", self.size.cells)
            self._standing = Standing(self.on_hand(), moving, coming, self.waited_for())
        return self._standing

    def moving(self) -> Floats:
        """On its way, by each way, `[B, S]`."""
        total: Floats = self.transit.sum(axis=(0, 1))
        return total

    def pool(self, values: Floats, what: str, size: int) -> Floats:
        """Sums of the ways that have the same number; see `Wiring.pool`."""
        return self.wiring.pool(values, what, size)

    def by_node(self, values: Floats) -> Floats:
        """Sums of cells `[B, M]` at the same node, `[B, N]`."""
        return self.wiring.pool(values, "site", self.size.nodes)

    def of(self, table: Any, what: str, outside: float = 0.0) -> Any:
        """A figure of cells, lanes or nodes, of each way; see `Wiring.of`."""
        return self.wiring.of(table, what, outside)

    def asked_by(self, orders: Floats) -> Floats:
        """What orders ask of the cells that they come from; see `Wiring.asked_by`."""
        return self.wiring.asked_by(orders)

    def waited_for(self) -> Floats:
        """What customers, those downstream and makers at the node wait for, of each cell, `[B, M]`."""
        return self.backlog + self.asked_by(self.open)

    # -- a step ----------------------------------------------------------------------------------------------------

    def step(self, orders: Floats, demand: Floats, luck: Luck) -> Moved:
        """Moves everything on by one step.

        Args:
            orders: What is ordered, `[B, S]`, 0 or more.
            demand: What customers ask for, `[B, M]`, 0 where nothing is sold.
            luck: What chance decides.
        """
        plan, self._standing = self.plan, None
        ordered = self._rounded(orders)
        self.open += ordered
        sent, ages, used = self._send(luck)
        left = self.on_hand()
        scrapped = sent * (1 - luck.good)
        self._dispatch((sent - scrapped) * ages, luck.lead)
        transit = self.moving()
        arrived = self.transit[0].copy()
        for step in range(1, len(self.transit)):  # one by one, as NumPy would copy what overlaps
            self.transit[step - 1] = self.transit[step]
        self.transit[-1] = 0.0
        np.maximum(self.latest - 1, 0, out=self.latest)
        for age in range(self.size.ages):
            self.stock[age] += self.pool(arrived[age], "target", self.size.cells)
        wanted = self.backlog + demand
        served = np.minimum(wanted, self.on_hand()) * plan.sold
        self._take(served)
        missing = (wanted - served) * plan.sold
        lost = np.where(plan.lost, missing, 0.0)
        self.backlog = missing - lost
        spoilt, spoilt_transit = self._spoil()
        came = arrived.sum(axis=0)
        return Moved(ordered, sent, scrapped, transit, came, used, left, served, lost, spoilt, spoilt_transit)

    def _rounded(self, orders: Floats) -> Floats:
        """Orders as lanes take them: whole batches, and no less than the minimum, or none."""
        plan = self.plan
        orders = np.where(plan.way, orders, 0.0)
        if not self.wiring.rounds:
            return orders
        batch = np.where(plan.batch > 0, plan.batch, 1.0)
        whole = np.where(plan.batch > 0, np.rint(orders / batch) * batch, orders)
        least = np.where(plan.batch > 0, np.ceil(plan.minimum / batch) * batch, plan.minimum)
        return np.where(orders < plan.minimum / 2, 0.0, np.where(whole > 0, np.maximum(whole, least), 0.0))

    def _send(self, luck: Luck) -> tuple[Floats, Floats, Floats]:
        """What is sent of the open orders, `[B, S]`; its ages, shares `[G, B, S]`; and components used, `[B, M]`."""
        plan, size = self.plan, self.size
        request = np.where(luck.shut, 0.0, self.open)
        request *= self._share(request, "lane", plan.lane_capacity)
        limits = plan.node_capacity.copy()
        limits[:, :-1] *= np.where(luck.strength > 0, luck.strength, 1.0)
        limits[:, :-1][luck.strength <= 0] = 0.0
        request *= self._share(request, "bound", limits)
        stock, making = self.on_hand(), self.wiring.making.ways
        wanted = request.take(making)
        np.put(request, making, 0.0)  # what is left is to be moved
        begun, used = self._make(wanted, request, stock)
        sent = self._allocate(request, np.maximum(stock - used, 0.0))
        ages = self._take(used + self.pool(sent, "source", size.cells))
        np.put(sent, making, begun)
        self.open = np.maximum(self.open - sent, 0.0)
        if size.ages == 1:
            return sent, np.ones((1, *sent.shape)), used
        fresh = self._fresh(self.of(plan.life, "target"))
        came = np.stack([self.of(age, "source") for age in ages])
        return sent, np.where(plan.source < size.cells, came, fresh), used

    def _share(self, request: Floats, what: str, limits: Floats) -> Floats:
        """What share of each request is granted so that none of the limits `[B, X + 1]` is exceeded, `[B, S]`."""
        limits = limits[:, :-1]
        if np.isinf(limits).all():
            return np.ones_like(request)
        asked = self.pool(request, what, limits.shape[1])
        share: Floats = self.of(_rationed(asked, limits), what, 1.0)
        return share

    def _make(self, wanted: Floats, moved: Floats, stock: Floats) -> tuple[Floats, Floats]:
        """What is begun of what is to be made, `[N]`, and the components that it takes, `[B, M]`; see `Making`.

        Of a component that is short everything gets the same share, what is moved too, unless making comes first.
        """
        if not len(wanted):
            return wanted, np.zeros_like(stock)
        wiring, others = self.wiring, self.pool(moved, "source", self.size.cells)
        if self.plan.priority.any():
            others = np.where(self._by_priority(), 0.0, others)
        share = wiring.of_parts(_rationed(wiring.components(wanted) + others, stock))
        begun = wanted * np.minimum(share.min(axis=0), 1.0)
        return begun, np.minimum(wiring.components(begun), stock)

    def _allocate(self, request: Floats, stock: Floats) -> Floats:
        """What is moved of what lanes ask for, `[B, S]`."""
        plan = self.plan
        share = _rationed(self.pool(request, "source", self.size.cells), stock)
        moved: Floats = request * self.of(share, "source", 1.0)
        if not plan.priority.any():
            return moved
        earlier = (plan.source[:, None, :] == plan.source[:, :, None]) & (plan.rank[:, None, :] < plan.rank[:, :, None])
        before = np.where(earlier, request[:, None, :], 0.0).sum(axis=2)
        first = np.clip(self.of(stock, "source", np.inf) - before, 0.0, request)
        return np.where(self.of(self._by_priority(), "source"), first, moved)

    def _by_priority(self) -> Bools:
        """Whether a cell's node allocates by priority, `[B, M]`."""
        by: Bools = self.of(self.plan.priority, "site")
        return by

    def _take(self, amounts: Floats) -> Floats:
        """Takes amounts `[B, M]` out of stock, the oldest first or last; returns each age's share, `[G, B, M]`."""
        if self.size.ages == 1:
            self.stock[0] = np.maximum(self.stock[0] - amounts, 0.0)
            return np.ones_like(self.stock)
        lifo = self.of(self.plan.lifo, "site")
        queue = np.where(lifo, self.stock[::-1], self.stock)
        taken = np.clip(amounts - (queue.cumsum(axis=0) - queue), 0.0, queue)
        taken = np.where(lifo, taken[::-1], taken)
        self.stock -= taken
        total = taken.sum(axis=0)
        return np.where(total > 0, taken / np.where(total > 0, total, 1.0), 0.0)

    def _dispatch(self, goods: Floats, lead: Ints) -> None:
        """Puts goods by age `[G, B, S]` on their way."""
        steps = np.where(self.plan.crossing, lead, np.maximum(lead, self.latest))
        self.latest = np.where(goods.sum(axis=0) > 0, np.maximum(steps, self.latest), self.latest)
        # Each goes to a place of its own, so that one addition by number does for all.
        places = (steps - 1) * goods.size + np.arange(goods.size).reshape(goods.shape)
        self.transit.reshape(-1, copy=False)[places] += goods

    def _spoil(self) -> tuple[Floats, Floats]:
        """Everything gets older by a step; what has no life left is gone: in stock `[B, M]`, on its way `[B, S]`."""
        plan = self.plan
        if not self.spoils:
            return np.zeros_like(self.backlog), np.zeros_like(self.open)
        ageing = plan.life > 0
        spoilt = np.where(ageing, self.stock[0], 0.0)
        older = np.concatenate([self.stock[1:], np.zeros_like(self.stock[:1])])
        self.stock = np.where(ageing, older, self.stock)
        moving = (self.of(plan.life, "target") > 0) & ~plan.made
        lost = np.where(moving, self.transit[:, 0], 0.0).sum(axis=0)
        older = np.concatenate([self.transit[:, 1:], np.zeros_like(self.transit[:, :1])], axis=1)
        self.transit = np.where(moving, older, self.transit)
        return spoilt, lost

    def _fresh(self, life: Ints) -> Floats:
        """Ages of what has just come to be, shares `[G, …]`, where it keeps for `life` steps."""
        age = np.where(life > 0, life - 1, self.size.ages - 1)
        return (np.arange(self.size.ages).reshape(-1, *[1] * life.ndim) == age).astype(np.float64)

    # -- state -----------------------------------------------------------------------------------------------------

    STATE = ("stock", "transit", "open", "backlog", "latest")

    def get_state(self) -> dict[str, Any]:
        """All goods, copied; the plans follow from the tasks."""
        return {name: getattr(self, name).copy() for name in self.STATE}

    def set_state(self, state: dict[str, Any], plans: list[Plan]) -> None:
        """Restores what `get_state` returned."""
        self._install(range(len(plans)), plans)
        self._standing = None
        for name in self.STATE:
            setattr(self, name, state[name].copy())


def _rationed(asked: Floats, there: Floats) -> Floats:
    """What share of what is asked for is granted."""
    return np.where(asked > there, there / np.where(asked > 0, asked, 1.0), 1.0)
