"""The calls of a step: those that still wait and those that come, answered in continuous time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.resource_allocation.workforce.future import NEVER, Future
from envs.resource_allocation.workforce.plan import Floats, Ints, Plan
from envs.resource_allocation.workforce.queues import serve
from envs.resource_allocation.workforce.staff import Posts


@dataclass(frozen=True)
class Tally:
    """What became of calls in a step, `[B, S]` each.

    Attributes:
        arrived, answered, abandoned: Calls.
        prompt: Calls answered within the skill's limit.
        late: Calls answered after it.
        waited: Time spent in the queue in this step [minutes].
        delay: Time that those had waited who were answered or gave up [minutes].
        worked: Handling time of those answered, by a worker of speed 1 [minutes].
    """

    arrived: Ints
    answered: Ints
    abandoned: Ints
    prompt: Ints
    late: Ints
    waited: Floats
    delay: Floats
    worked: Floats


@dataclass
class Queues:
    """Calls that wait, `B` worlds.

    Attributes:
        calls: Numbers of the calls that wait, in the order in which they came, `[B, S, M]`.
        count: How many there are, `[B, S]`.
        oldest: How long the first of them has waited [minutes], `[B, S]`.
    """

    calls: Ints
    count: Ints
    oldest: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Nobody has waited."""
        self.oldest = np.zeros(self.count.shape)

    @classmethod
    def empty(cls, worlds: int, skills: int) -> Queues:
        """Nobody waits."""
        return cls(np.zeros((worlds, skills, 1), np.int64), np.zeros((worlds, skills), np.int64))

    def begin(self, worlds: Ints) -> None:
        """Nobody waits."""
        self.count[worlds], self.oldest[worlds] = 0, 0.0

    def play(self, clock: Ints, plan: Plan, future: Future, posts: Posts) -> tuple[Tally, Floats]:
        """One step; what became of calls, and when each post is free, `[B, S, V]`."""
        worlds = np.arange(len(clock))
        first, after = future.came[worlds, :, clock], future.came[worlds, :, clock + 1]
        arrived = after - first
        number = np.arange(max(int((self.count + arrived).max(initial=0)), 1))
        old = number < self.count[..., None]
        waiting = self.calls[:, :, np.minimum(number, self.calls.shape[2] - 1)]
        calls = np.where(old, waiting, first[..., None] + number - self.count[..., None])
        there = number < (self.count + arrived)[..., None]
        calls = np.where(there, calls, 0)
        at, work, until = (
            np.take_along_axis(getattr(future, name), np.minimum(calls, future.at.shape[2] - 1), axis=2)
            for name in ("at", "work", "until")
        )
        now, end = (clock * plan.step)[:, None, None], ((clock + 1) * plan.step)[:, None, None]
        rows, flat = (-1, posts.free.shape[2]), (len(number), -1)
        free = posts.free.reshape(rows).copy()

        def turned(array: Any) -> Any:
            return np.moveaxis(array, 2, 0).reshape(flat)

        ends = np.broadcast_to(end[:, :, 0], self.count.shape).ravel()
        came, limit = turned(np.maximum(at, now)), turned(until)
        served = serve(came, turned(work), limit, turned(there), free, posts.speed.reshape(rows), ends)

        def back(array: Any) -> Any:
            return np.moveaxis(array.reshape(len(number), *self.count.shape), 0, 2)

        answered, abandoned, stays = back(served.answered), back(served.abandoned), back(served.waiting)
        leaves = np.where(answered, back(served.start), np.where(abandoned, until, end))
        waited = np.where(there, leaves - np.maximum(at, now), 0.0)
        delay = np.where(answered | abandoned, leaves - at, 0.0)
        prompt = answered & (delay <= plan.within[..., None])
        tally = Tally(
            arrived,
            answered.sum(axis=2),
            abandoned.sum(axis=2),
            prompt.sum(axis=2),
            (answered & ~prompt).sum(axis=2),
            in_order(waited),
            in_order(delay),
            in_order(np.where(answered, work, 0.0)),
        )
        self._keep(calls, stays, at, end)
        return tally, free.reshape(posts.free.shape)

    def _keep(self, calls: Ints, stays: Any, at: Floats, end: Floats) -> None:
        """Has calls wait for the next step, in their order."""
        order = np.argsort(~stays, axis=2, kind="stable")
        self.count = stays.sum(axis=2)
        most = max(int(self.count.max(initial=0)), 1)
        self.calls = np.take_along_axis(calls, order[:, :, :most], axis=2)
        since = np.where(stays, at, NEVER).min(axis=2)
        self.oldest = np.where(self.count > 0, end[:, :, 0] - since, 0.0)

    def get_state(self) -> dict[str, Any]:
        """All of it, copied."""
        return {"calls": self.calls.copy(), "count": self.count.copy(), "oldest": self.oldest.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            setattr(self, name, array.copy())


def in_order(array: Floats) -> Floats:
    """Sums along the last axis, added up one after the other: zeros behind, as others' longer queues make, are nothing.

    NumPy's own sum adds pairwise, in groups that depend on the length.
    """
    found: Floats = array.cumsum(axis=-1)[..., -1]
    return found
