"""How a supply chain's return changes with what is asked for: the derivative through the flow of goods.

A tape keeps what a rollout began with, what chance did and which levels were asked for. `slopes` plays it again, in
torch, by the formulas of `envs.supply_chain.flows` and `accounts`, and lets the return flow back through them to every
level (reverse accumulation; Griewank and Walther 2008, chapter 3). Later levels stay as they were asked for: as they
are base-stock levels, the orders make up by themselves for what a change does later.

Whole batches and minima pass the derivative on as if they were not there, and an order's fee has none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import FloatArray
from envs.supply_chain.config import OBJECTIVES
from envs.supply_chain.flows import Flows, Luck
from envs.supply_chain.plan import Floats, Size
from envs.supply_chain.seats import taken
from envs.supply_chain.tape import Moment, Tape
from envs.supply_chain.wiring import Wiring


def slopes(tape: Tape) -> dict[str, FloatArray]:
    """How the team's return changes with each action on a tape, by role `[T, B, A, K]`.

    Raises:
        ValueError: If there is no step on it.
    """
    if not tape.moments:
        raise ValueError("tape: got no step, allowed is one or more")
    with torch.inference_mode(False), torch.enable_grad():
        each = _of_levels(tape.moments, tape.size)
    rows = np.stack([taken(own * m.room, m.ways) for own, m in zip(each, tape.moments, strict=True)])
    return {role: rows[:, :, part].astype(np.float32) for role, part in tape.parts.items()}


def _of_levels(tape: list[Moment], size: Size) -> Floats:
    """The derivative of the tape's return, mean over agents, to each level, `[T, B, S]`."""
    levels = [torch.from_numpy(moment.levels).requires_grad_() for moment in tape]
    goods: _Goods | None = None
    total = torch.zeros((), dtype=torch.float64)
    network: _Network | None = None
    for moment, asked in zip(tape, levels, strict=True):
        if network is None or network.wiring is not moment.wiring:
            network = _Network(moment.wiring, size)
        if moment.start is not None:
            fresh = _Goods.of(moment.start, moment.ordered)
            goods = fresh if goods is None else goods.replaced(fresh, torch.from_numpy(moment.began))
        assert goods is not None
        goods, earned = network.step(goods, asked, moment)
        total = total + earned
    found = torch.autograd.grad(total, levels, allow_unused=True)
    return np.stack([np.zeros_like(m.levels) if g is None else g.numpy() for m, g in zip(tape, found, strict=True)])


@dataclass(frozen=True)
class _Goods:
    """The goods as in `Flows`, those on their way step by step, and what was ordered last."""

    stock: Tensor
    transit: tuple[Tensor, ...]
    open: Tensor
    backlog: Tensor
    latest: Tensor
    ordered: Tensor

    @classmethod
    def of(cls, state: dict[str, Any], ordered: Floats) -> _Goods:
        stock, transit, still, backlog, latest = (torch.from_numpy(state[name]) for name in Flows.STATE)
        return cls(stock, tuple(transit), still, backlog, latest, torch.from_numpy(ordered))

    def replaced(self, other: _Goods, worlds: Tensor) -> _Goods:
        """The other's in some worlds."""
        rows = worlds[:, None]
        return _Goods(
            torch.where(rows, other.stock, self.stock),
            tuple(torch.where(rows, new, old) for new, old in zip(other.transit, self.transit, strict=True)),
            *(
                torch.where(rows, getattr(other, name), getattr(self, name))
                for name in ("open", "backlog", "latest", "ordered")
            ),
        )


class _Network:
    """The formulas of `Flows`, over tensors; the names are the same."""

    def __init__(self, wiring: Wiring, size: Size) -> None:
        self.wiring, self.size = wiring, size
        plan = wiring.plan
        arrays = {field.name: torch.from_numpy(getattr(plan, field.name)) for field in fields(plan)}
        self.plan: Any = SimpleNamespace(**arrays)
        self.makes, self.by_rank = bool(plan.made.any()), bool(plan.priority.any())
        self.rounds = bool((plan.batch > 0).any() or (plan.minimum > 0).any())
        self.spoils = bool((plan.life > 0).any())
        self.crosses = bool(plan.crossing[plan.way].all())
        self.priority: Tensor = self.of(self.plan.priority.to(torch.int64), self.plan.site) > 0
        self.lifo = self.of(self.plan.lifo.to(torch.int64), self.plan.site) > 0

    # -- sums and figures of ways ----------------------------------------------------------------------------------

    def pool(self, values: Tensor, numbers: Tensor, width: int) -> Tensor:
        """Sums of the ways that have the same number, `[B, width]`."""
        return values.new_zeros(len(values), width + 1).scatter_add(1, numbers, values)[:, :width]

    def of(self, table: Tensor, numbers: Tensor, outside: float = 0.0) -> Tensor:
        """A figure of each way, `[B, S]`."""
        return torch.nn.functional.pad(table, (0, 1), value=outside).gather(1, numbers)

    def components(self, begun: Tensor) -> Tensor:
        """Components that making takes, `[B, M]`."""
        plan, width = self.plan, self.size.cells
        found = begun.new_zeros(len(begun), width + 1)
        for index in range(self.size.components):
            found = found.scatter_add(1, plan.parts[:, :, index], begun * plan.needs[:, :, index])
        return found[:, :width]

    def asked_by(self, orders: Tensor) -> Tensor:
        """What orders ask of cells, `[B, M]`."""
        asked = self.pool(orders, self.plan.source, self.size.cells)
        return asked + self.components(orders) if self.makes else asked

    # -- a step ----------------------------------------------------------------------------------------------------

    def step(self, goods: _Goods, levels: Tensor, moment: Moment) -> tuple[_Goods, Tensor]:
        """Moves everything on by a step; returns the goods, and what all worlds earn together."""
        plan, size, luck = self.plan, self.size, moment.luck
        orders = self.orders(levels - self.there(goods))
        ordered = self.rounded(orders)
        opened = goods.open + ordered
        stock, sent, ages = self.send(goods.stock, opened, luck)
        left = stock.sum(0)
        scrapped = sent * (1 - torch.from_numpy(luck.good))
        moving, latest = self.dispatch(goods, (sent - scrapped) * ages, torch.from_numpy(luck.lead))
        on_way = torch.stack([each.sum(0) for each in moving]).sum(0)
        arrived, empty = moving[0], torch.zeros_like(moving[0])
        stock = stock + torch.stack([self.pool(each, plan.target, size.cells) for each in arrived])
        wanted = goods.backlog + torch.from_numpy(moment.demand)
        served = torch.minimum(wanted, stock.sum(0)) * plan.sold
        stock, _ = self.take(stock, served)
        missing = (wanted - served) * plan.sold
        lost = torch.where(plan.lost, missing, 0.0)
        after = _Goods(stock, (*moving[1:], empty), (opened - sent).clamp(min=0.0), missing - lost, latest, ordered)
        after = self.aged(after) if self.spoils else after
        earned = self.earned(goods, after, ordered, sent, on_way, left, served, lost)
        return after, (earned * torch.from_numpy(moment.weights)).sum()

    def there(self, goods: _Goods) -> Tensor:
        """As `SupplyChainEnv.there`."""
        plan, cells = self.plan, self.size.cells
        net = goods.stock.sum(0) - goods.backlog - self.asked_by(goods.open)
        coming, found = goods.open, torch.zeros_like(goods.open)
        for step in range(int(plan.longest.max())):
            coming = coming + goods.transit[step].sum(0)
            now = plan.longest == step + 1
            if now.any():
                found = torch.where(now, self.of(net + self.pool(coming, plan.target, cells), plan.target), found)
        return found

    def orders(self, missing: Tensor) -> Tensor:
        """As `Wiring.known_upstream`."""
        plan, cells = self.plan, self.size.cells
        turn = plan.turn
        found, changed = torch.zeros_like(missing), missing.new_zeros(len(missing), cells)
        for now in range(int(turn.max()) + 1):
            mine = (turn == now) & plan.way
            covered = torch.where(mine, (missing + self.of(changed, plan.target)).clamp(min=0.0), 0.0)
            orders = covered / plan.good
            found = found + orders
            changed = changed + self.asked_by(orders) - self.pool(covered, plan.target, cells)
        return found

    def rounded(self, orders: Tensor) -> Tensor:
        """As `Flows._rounded`, whose steps the derivative does not see."""
        plan = self.plan
        orders = torch.where(plan.way, orders, 0.0)
        if not self.rounds:
            return orders
        with torch.no_grad():
            batch = torch.where(plan.batch > 0, plan.batch, 1.0)
            whole = torch.where(plan.batch > 0, torch.round(orders / batch) * batch, orders)
            least = torch.where(plan.batch > 0, torch.ceil(plan.minimum / batch) * batch, plan.minimum)
            whole = torch.where(whole > 0, torch.maximum(whole, least), 0.0)
            shift = torch.where(orders < plan.minimum / 2, 0.0, whole) - orders
        return orders + shift

    def send(self, stock: Tensor, opened: Tensor, luck: Luck) -> tuple[Tensor, Tensor, Tensor]:
        """As `Flows._send`: stock by age, what is sent, and its ages."""
        plan, size = self.plan, self.size
        request = torch.where(torch.from_numpy(luck.shut), 0.0, opened)
        request = request * self.share(request, plan.lane, plan.lane_capacity[:, :-1])
        strength = torch.from_numpy(luck.strength)
        limits = torch.where(strength > 0, plan.node_capacity[:, :-1] * torch.where(strength > 0, strength, 1.0), 0.0)
        request = request * self.share(request, plan.bound, limits)
        there = stock.sum(0)
        begun, used = torch.zeros_like(request), torch.zeros_like(there)
        if self.makes:
            begun, used = self.make(request, there)
        moved = self.allocate(torch.where(plan.made, 0.0, request), (there - used).clamp(min=0.0))
        stock, ages = self.take(stock, used + self.pool(moved, plan.source, size.cells))
        sent = begun + moved
        if size.ages == 1:
            return stock, sent, torch.ones_like(sent)[None]
        life = self.of(plan.life, plan.target)
        age = torch.where(life > 0, life - 1, size.ages - 1)
        fresh = (torch.arange(size.ages)[:, None, None] == age).to(sent.dtype)
        came = torch.stack([self.of(each, plan.source) for each in ages])
        return stock, sent, torch.where(plan.source < size.cells, came, fresh)

    def share(self, request: Tensor, numbers: Tensor, limits: Tensor) -> Tensor:
        """As `Flows._share`."""
        if not torch.isfinite(limits).any():
            return torch.ones_like(request)
        return self.of(_rationed(self.pool(request, numbers, limits.shape[1]), limits), numbers, 1.0)

    def make(self, request: Tensor, stock: Tensor) -> tuple[Tensor, Tensor]:
        """As `Flows._make`."""
        plan, size = self.plan, self.size
        begun = torch.where(plan.made, request, 0.0)
        beside = self.pool(request - begun, plan.source, size.cells)
        share = _rationed(self.components(begun) + torch.where(self.priority, 0.0, beside), stock)
        for index in range(size.components):
            begun = torch.minimum(begun, request * self.of(share, plan.parts[:, :, index], 1.0))
        return begun, torch.minimum(self.components(begun), stock)

    def allocate(self, request: Tensor, stock: Tensor) -> Tensor:
        """As `Flows._allocate`."""
        plan = self.plan
        share = _rationed(self.pool(request, plan.source, self.size.cells), stock)
        moved = request * self.of(share, plan.source, 1.0)
        if not self.by_rank:
            return moved
        earlier = (plan.source[:, None, :] == plan.source[:, :, None]) & (plan.rank[:, None, :] < plan.rank[:, :, None])
        before = torch.where(earlier, request[:, None, :], 0.0).sum(2)
        there = self.of(stock, plan.source, float("inf")) - before
        first = torch.minimum(there.clamp(min=0.0), request)
        return torch.where(self.of(self.priority.to(torch.int64), plan.source) > 0, first, moved)

    def take(self, stock: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """As `Flows._take`: what is left, by age, and each age's share of what was taken."""
        if self.size.ages == 1:
            return (stock - amounts[None]).clamp(min=0.0), torch.ones_like(stock)
        queue = torch.where(self.lifo, stock.flip(0), stock)
        taken = torch.minimum((amounts - (queue.cumsum(0) - queue)).clamp(min=0.0), queue)
        taken = torch.where(self.lifo, taken.flip(0), taken)
        total = taken.sum(0)
        return stock - taken, torch.where(total > 0, taken / torch.where(total > 0, total, 1.0), 0.0)

    def dispatch(self, goods: _Goods, sent: Tensor, lead: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """As `Flows._dispatch`: what is on its way, and when the last of it arrives, a step on."""
        steps = torch.where(self.plan.crossing, lead, torch.maximum(lead, goods.latest))
        latest = torch.where(sent.detach().sum(0) > 0, torch.maximum(steps, goods.latest), goods.latest)
        moving = list(goods.transit)
        for step in range(int(steps.min()), int(steps.max()) + 1):
            moving[step - 1] = moving[step - 1] + torch.where(steps == step, sent, 0.0)
        return tuple(moving), (latest - 1).clamp(min=0)

    def aged(self, goods: _Goods) -> _Goods:
        """As `Flows._spoil`."""
        plan = self.plan
        older = torch.cat([goods.stock[1:], torch.zeros_like(goods.stock[:1])])
        moving = (self.of(plan.life, plan.target) > 0) & ~plan.made
        on_way = tuple(torch.where(moving, torch.cat([t[1:], torch.zeros_like(t[:1])]), t) for t in goods.transit)
        stock = torch.where(plan.life > 0, older, goods.stock)
        return _Goods(stock, on_way, goods.open, goods.backlog, goods.latest, goods.ordered)

    def worth(self, goods: _Goods) -> Tensor:
        """As `envs.supply_chain.accounts.worth`, of all nodes together, `[B]`."""
        plan = self.plan
        moving = torch.stack([each.sum(0) for each in goods.transit]).sum(0) * self.of(plan.value, plan.target)
        total: Tensor = (goods.stock.sum(0) * plan.value).sum(1) + moving.sum(1)
        return total

    def earned(
        self,
        before: _Goods,
        goods: _Goods,
        ordered: Tensor,
        sent: Tensor,
        on_way: Tensor,
        left: Tensor,
        served: Tensor,
        lost: Tensor,
    ) -> Tensor:
        """As `envs.supply_chain.accounts.earned`, sums over nodes, `[B, R]`; order fees are left out."""
        plan = self.plan
        stock = goods.stock.sum(0)
        volume = self.pool(stock * plan.volume, plan.site, self.size.nodes)
        beyond = (volume - plan.storage).clamp(min=0.0)
        paid = plan.price * sent
        short = torch.where(plan.lost, lost, goods.backlog)
        lain = torch.where(plan.sold, stock, left)
        parts = {
            "sales": (served * plan.sale).sum(1) + torch.where(plan.seller < self.size.nodes, paid, 0.0).sum(1),
            "purchase": -paid.sum(1),
            "hold": -((lain * plan.hold).sum(1) + (on_way * plan.transit).sum(1) + (beyond * plan.overflow).sum(1)),
            "backlog": -(short * plan.shortage).sum(1),
            "order": torch.zeros_like(paid[:, 0]),
            "emissions": -(plan.emissions * sent).sum(1),
            "swings": -(ordered - before.ordered).abs().sum(1),
            "stock": self.worth(goods) - self.worth(before),
        }
        return torch.stack([parts[name] for name in OBJECTIVES], 1)


def _rationed(asked: Tensor, there: Tensor) -> Tensor:
    """What share of what is asked for is granted."""
    tight = asked > there  # neither branch may divide by nothing, or by what has no end: its derivative would be none
    return torch.where(tight, torch.where(tight, there, 1.0) / torch.where(tight, asked, 1.0), 1.0)
