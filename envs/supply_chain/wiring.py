"""Which way takes from which cell and brings to which: sums over ways, and figures of theirs, in `B` networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from envs.supply_chain.plan import Bools, Floats, Ints, Plan, Size


class Wiring:
    """The numbers of a plan, counted through all worlds, so that sums over ways are one call.

    Args:
        plan: The networks, an axis of worlds before all others; it must not change.
        size: How large they are at most.

    Attributes:
        plan, size: As given.
        making: What is made, and of what.
        due: Who waits how long for an order at most, the quickest first.
        rounds: Whether anything comes in batches or has a minimum.
        spoils: Whether anything has a shelf life.
        rate, way_rate: What passes through on average [units a step], `[B, M]` and `[B, S]`; 1 where nothing does.
        mean: What passes through each way's cell on average [units a step], `[B, S]`.
        lead, root_lead: Mean lead times [steps], and their roots, `[B, S]`.
    """

    def __init__(self, plan: Plan, size: Size) -> None:
        self.plan, self.size = plan, size
        widths = {"source": size.cells, "target": size.cells, "lane": size.lanes}
        widths |= {"bound": size.nodes, "owner": size.nodes, "seller": size.nodes, "site": size.nodes}
        tables = {what: getattr(plan, what) for what in widths}
        for c in range(size.components):
            tables[f"parts{c}"], widths[f"parts{c}"] = plan.parts[:, :, c], size.cells
        worlds = np.arange(len(plan.way))[:, None]
        self._numbers: dict[str, Ints] = {what: table + worlds * (widths[what] + 1) for what, table in tables.items()}
        # All that is asked of cells, pair by pair: what is moved asks of its source, what is made of its components.
        flat = np.arange(plan.way.size).reshape(plan.way.shape)
        pairs = [(plan.source, self._numbers["source"], np.ones(plan.way.shape))]
        pairs += [
            (plan.parts[:, :, c], self._numbers[f"parts{c}"], plan.needs[:, :, c]) for c in range(size.components)
        ]
        inside = [plan.way & (cells < size.cells) for cells, _, _ in pairs]
        self._asking = np.concatenate([flat[there] for there in inside])
        self._asked_of = np.concatenate([numbers[there] for there, (_, numbers, _) in zip(inside, pairs, strict=True)])
        self._units = np.concatenate([units[there] for there, (_, _, units) in zip(inside, pairs, strict=True)])
        self.rounds = bool((plan.batch > 0).any() or (plan.minimum > 0).any())
        self.spoils = bool((plan.life > 0).any())
        self.rate, self.way_rate = (np.where(rate > 0, rate, 1.0) for rate in (plan.rate, plan.way_rate))
        self.mean = self.of(plan.rate, "target")
        self.lead = (plan.shortest + plan.longest) / 2
        self.root_lead = np.sqrt(self.lead)
        made = np.flatnonzero(plan.made & plan.way)
        parts = [self._numbers[f"parts{c}"].ravel()[made] for c in range(size.components)]
        self.making = Making(made, np.stack(parts), plan.needs.reshape(-1, size.components)[made].T.copy())
        longest = np.where(plan.way, plan.longest, 0).ravel()
        self.due = [
            Due(int(steps), ways, self._numbers["target"].ravel()[ways])
            for steps in np.unique(longest[longest > 0])
            for ways in (np.flatnonzero(longest == steps),)
        ]
        turns = np.where(plan.way, plan.turn, -1).ravel()
        self._turns = [self._turn(turns == now) for now in range(int(turns.max()) + 1)]

    def _turn(self, now: Bools) -> _Turn:
        ways, asked = np.flatnonzero(now), now[self._asking]
        targets, good = self._numbers["target"].ravel()[ways], self.plan.good.ravel()[ways]
        return _Turn(ways, targets, good, self._asking[asked], self._asked_of[asked], self._units[asked])

    def pool(self, values: Floats, what: str, size: int) -> Floats:
        """Sums of the ways that have the same number, `[B, size]`; or of the cells at the same node (`site`).

        Args:
            values: One for each way, `[B, S]`; or for each cell, `[B, M]`.
            what: One of the plan's arrays of numbers.
            size: How many sums there are.
        """
        return self._summed(self._numbers[what].ravel(), values.ravel(), size)[:, :size]

    def _summed(self, numbers: Ints, values: Floats, size: int) -> Floats:
        """Sums of values `[X]` that have the same number, counted through all worlds, `[B, size + 1]`."""
        shape = (len(self.plan.way), size + 1)
        summed: Floats = np.bincount(numbers, values, shape[0] * shape[1]).astype(np.float64, copy=False)
        return summed.reshape(shape)

    def of(self, table: Any, what: str, outside: float = 0.0) -> Any:
        """A figure of cells, lanes or nodes `[B, X]`, of each way, `[B, S]`: the other way round than `pool`.

        Args:
            table: The figure.
            what: One of the plan's arrays of numbers.
            outside: The figure of what has the number after the last.
        """
        padded = np.empty((len(table), table.shape[1] + 1), table.dtype)
        padded[:, :-1], padded[:, -1] = table, outside
        return padded.take(self._numbers[what], mode="clip")

    def asked_by(self, orders: Floats) -> Floats:
        """What orders `[B, S]` ask of the cells that they come from, or are made of, `[B, M]`."""
        return self._summed(self._asked_of, orders.ravel()[self._asking] * self._units, self.size.cells)[:, :-1]

    def components(self, begun: Floats) -> Floats:
        """Components that making takes, `[B, M]`, where so much is begun of what is made, `[N]`; see `Making`."""
        making = self.making
        return self._summed(making.parts.ravel(), (begun * making.needs).ravel(), self.size.cells)[:, :-1]

    def of_parts(self, table: Floats) -> Floats:
        """A figure of cells `[B, M]`, of each component of what is made, `[C, N]`; infinite where there is none."""
        padded = np.full((len(table), self.size.cells + 1), np.inf)
        padded[:, :-1] = table
        return padded.take(self.making.parts, mode="clip")

    def passed_on(self, sold: Floats) -> Floats:
        """What customers' demand `[B, M]` means to every cell, all upstream included, `[B, M]`: no stock is kept."""
        passed = sold
        for _ in range(2 * self.size.nodes):
            further = sold + self.asked_by(self._usual_share * self.of(passed, "target"))
            if np.array_equal(further, passed):
                break
            passed = further
        return passed

    @cached_property
    def _usual_share(self) -> Floats:
        """What is ordered by each way of a unit that its cell needs, as it is on average, `[B, S]`."""
        plan = self.plan
        needed = np.maximum(self.of(plan.rate, "target"), 1e-12)
        share: Floats = np.where(plan.way, plan.way_rate * plan.good / needed, 0.0)
        return share

    def known_upstream(self, missing: Floats) -> Floats:
        """What is ordered by each way to cover what is missing, `[B, S]`.

        What is ordered downstream in the same step is missing upstream, too; what is ordered of a product by one way
        is not missing for those whose turn comes later.

        Args:
            missing: What is missing without that, `[B, S]`.
        """
        found, missing = np.zeros(missing.size), missing.ravel()
        changed = np.zeros(len(self.plan.way) * (self.size.cells + 1))
        for now in self._turns:
            covered = np.maximum(missing[now.ways] + changed[now.targets], 0.0)
            found[now.ways] = covered / now.good
            changed[now.targets] -= covered  # in a turn only one way leads to a cell
            changed += np.bincount(now.asked_of, found[now.asking] * now.units, len(changed))
        return found.reshape(self.plan.way.shape)


@dataclass(frozen=True)
class Making:
    """What is made, in all worlds.

    Attributes:
        ways: The `N` ways that make something.
        parts, needs: Cells and units of their components, `[C, N]`; none needed where there is no further one.
    """

    ways: Ints
    parts: Ints
    needs: Floats


@dataclass(frozen=True)
class Due:
    """Ways whose orders come within so many steps, in all worlds.

    Attributes:
        steps: Longest lead time [steps].
        ways, targets: They, and their cells.
    """

    steps: int
    ways: Ints
    targets: Ints


@dataclass(frozen=True)
class _Turn:
    """Who orders at the same time, in all worlds.

    Attributes:
        ways, targets, good: Who, of which cell, and the yields.
        asking, asked_of, units: Of those who ask something of a cell: who, of which, and how much for a unit.
    """

    ways: Ints
    targets: Ints
    good: Floats
    asking: Ints
    asked_of: Ints
    units: Floats
