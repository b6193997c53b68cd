"""What is to be expected of the rest of the day: the load, who will be there, and what a worker more would be worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from envs.resource_allocation.workforce.plan import Floats, Ints, Plan
from envs.resource_allocation.workforce.staff import Staff
from envs.resource_allocation.workforce.tables import Tables

NODES = (-(3.0**0.5), 0.0, 3.0**0.5)
WEIGHTS = (1 / 6, 2 / 3, 1 / 6)
"""Gauss-Hermite quadrature of three points: how far the level may be off, in standard deviations."""


class Window(NamedTuple):
    """Means over some steps, `[B, S]` each: load and staff [erlangs and workers], and the share inside the day."""

    load: Floats
    staff: Floats
    part: Floats


@dataclass(frozen=True)
class Outlook:
    """As things stand before a step, `B` worlds.

    Attributes:
        plan, tables: The centres.
        centre: Number of each world's centre, `[B]`.
        clock: The step, `[B]`.
        level, spread: Of each skill's day, mean and standard deviation, `[B, S]`.
        load: Expected offered load in each step [erlangs], `[B, S, T]`.
        staff: Expected workers of each team in each step, lending left out, `[B, S, T]`.
        waiting: Calls that wait, as the load that answering them in this step is [erlangs], `[B, S]`.
        fair: What a call answered within the limit is worth for fairness [currency], `[B, S]`.
    """

    plan: Plan
    tables: Tables
    centre: Ints
    clock: Ints
    level: Floats
    spread: Floats
    load: Floats
    staff: Floats
    waiting: Floats
    fair: Floats

    @cached_property
    def now(self) -> tuple[Floats, Floats]:
        """Load and staff of the present step, the load with what waits, `[B, S]`."""
        worlds = np.arange(len(self.clock))
        return self.load[worlds, :, self.clock] + self.waiting, self.staff[worlds, :, self.clock]

    def window(self, first: Ints, length: Ints) -> Window:
        """Means over `length` steps from `first` on, `[B, S]`; what lies beyond the day is left out."""
        day = np.broadcast_to(self.plan.steps[:, None], first.shape)
        begin, end = np.minimum(first, day), np.minimum(first + length, day)
        count = np.maximum(end - begin, 1)

        def mean(path: Floats) -> Floats:
            upto = np.concatenate([np.zeros((*path.shape[:2], 1)), path.cumsum(axis=2)], axis=2)
            sums = [np.take_along_axis(upto, place[..., None], axis=2)[..., 0] for place in (begin, end)]
            found: Floats = (sums[1] - sums[0]) / count
            return found

        return Window(mean(self.load), mean(self.staff), (end - begin) / np.maximum(length, 1))

    @cached_property
    def called(self) -> Window:
        """The window in which those are there who are called in now."""
        return self.window(self.clock[:, None] + self.plan.lead, self.plan.stay)

    @cached_property
    def soon(self) -> Window:
        """The window of the same length that begins now."""
        return self.window(np.broadcast_to(self.clock[:, None], self.plan.stay.shape), self.plan.stay)

    def worth(self, load: Floats, servers: Floats, *, sure: bool = False) -> Floats:
        """What servers bring [currency a minute], `[B, S, ...]`, mean over what the level may be.

        Args:
            load: At the expected level, `[B, S, ...]`.
            servers: Number of servers, `[B, S, ...]`.
            sure: Whether the level is taken for certain.
        """
        extra = (1,) * (load.ndim - 2)
        fair = self.fair.reshape(*load.shape[:2], *extra)
        off = (self.spread / np.maximum(self.level, 1e-9)).reshape(*load.shape[:2], *extra)
        total = np.zeros(np.broadcast_shapes(load.shape, servers.shape))
        many = np.broadcast_to(servers, total.shape)
        for node, weight in ((0.0, 1.0),) if sure else zip(NODES, WEIGHTS, strict=True):
            loads = np.broadcast_to(load * np.maximum(1 + node * off, 0.05), total.shape)
            total += weight * self.tables.read(self.centre, loads, many, fair)
        return total


def staff_path(plan: Plan, staff: Staff, clock: Ints, absence: Floats) -> Floats:
    """Who is to be expected in each step, `[B, S, T]`: of shifts that have not begun the usual share stays away."""
    length = plan.rate.shape[2]
    begun = (plan.on_duty.cumsum(axis=3) > 0)[np.arange(len(clock)), :, :, clock]
    expected = np.where(begun, staff.left, plan.shift * (1 - absence)[:, None, None])
    found: Floats = (expected[..., None] * plan.on_duty).sum(axis=2) + staff.called[:, :, :length]
    return found
