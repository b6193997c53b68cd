"""Which way takes from which cell and brings to which: sums over ways, and figures of theirs, in `B` networks."""

from __future__ import annotations

from dataclasses import dataclass
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
        turns = np.where(plan.way, plan.turn, -1).ravel()
        self._turns = [self._turn(turns == now) for now in range(int(turns.max()) + 1)]

    def _turn(self, now: Bools) -> _Turn:
        ways, asked = np.flatnonzero(now), now[self._asking]
        targets, good = self._numbers["target"].ravel()[ways], self.plan.good.ravel()[ways]
        return _Turn(ways, targets, good, self._asking[asked], self._asked_of[asked], self._units[asked])

    def numbers(self, what: str) -> Ints:
        """One of the plan's arrays of numbers, counted through all worlds, one more than it has in each, `[B, S]`."""
        return self._numbers[what]

    def pool(self, values: Floats, what: str, size: int) -> Floats:
        """Sums of the ways that have the same number, `[B, size]`; or of the cells at the same node (`site`).

        Args:
            values: One for each way, `[B, S]`; or for each cell, `[B, M]`.
            what: One of the plan's arrays of numbers.
            size: How many sums there are.
        """
        shape = (len(values), size + 1)
        summed: Floats = np.bincount(self._numbers[what].ravel(), values.ravel(), shape[0] * shape[1]).astype(
            np.float64, copy=False
        )
        return summed.reshape(shape)[:, :size]

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
        shape = (len(orders), self.size.cells + 1)
        amounts = orders.ravel()[self._asking] * self._units
        asked: Floats = np.bincount(self._asked_of, amounts, shape[0] * shape[1]).astype(np.float64, copy=False)
        return asked.reshape(shape)[:, :-1]

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
            changed -= np.bincount(now.targets, covered, len(changed))
            changed += np.bincount(now.asked_of, found[now.asking] * now.units, len(changed))
        return found.reshape(self.plan.way.shape)


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
