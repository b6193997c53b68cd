"""Who works where: shifts, those called in and sent home, and those lent; whole workers, nobody in two places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.resource_allocation.workforce.plan import Bools, Floats, Ints, Plan, Size

GONE = np.inf
"""When a worker is free who is not on duty."""


@dataclass(frozen=True)
class Orders:
    """What team leads decide in a step, in whole workers.

    Attributes:
        call: Workers called in, `[B, S]`.
        home: Workers sent home, `[B, S]`.
        lent: Workers of each team (first axis) lent to each skill, `[B, S, S]`; 0 to its own.
    """

    call: Ints
    home: Ints
    lent: Ints


@dataclass(frozen=True)
class Posts:
    """Servers of the queues, `[B, S, V]` each, the skills' queues one after the other.

    Attributes:
        worker: Number of the worker among all of a world's, `S * W` teams' places; of no account where nobody is.
        there: Whether there is a server.
        free: When it is free [minutes], infinite where there is none.
        speed: How fast it is.
    """

    worker: Ints
    there: Bools
    free: Floats
    speed: Floats


@dataclass
class Staff:
    """Workers of `B` worlds.

    Attributes:
        left: Of each shift, who did not stay away and was not sent home, `[B, S, J]`.
        called: Of those called in so far, how many are there in each step, `[B, S, T + H]`.
        leaving: How many of them leave at the beginning of each step, `[B, S, T + H + 1]`.
        pool: Who can still be called in, `[B, S]`.
        duty: Who is on duty, `[B, S]`.
        free: When each of them has ended his last call [minutes], in rising order, then infinite, `[B, S, W]`.
        lent: As ordered for the present step, `[B, S, S]`.
    """

    left: Ints
    called: Ints
    leaving: Ints
    pool: Ints
    duty: Ints
    free: Floats
    lent: Ints

    @classmethod
    def empty(cls, worlds: int, size: Size) -> Staff:
        """Nobody."""
        skills, ahead = (worlds, size.skills), size.steps + size.ahead
        return cls(
            left=np.zeros((*skills, size.shifts), np.int64),
            called=np.zeros((*skills, ahead), np.int64),
            leaving=np.zeros((*skills, ahead + 1), np.int64),
            pool=np.zeros(skills, np.int64),
            duty=np.zeros(skills, np.int64),
            free=np.full((*skills, size.workers), GONE),
            lent=np.zeros((*skills, size.skills), np.int64),
        )

    def begin(self, worlds: Ints, plan: Plan, staffed: Ints) -> None:
        """Opens: nobody is there yet, and `staffed` `[B, S, J]` will come."""
        for array in (self.called, self.leaving, self.duty, self.lent):
            array[worlds] = 0
        self.left[worlds], self.pool[worlds], self.free[worlds] = staffed[worlds], plan.on_call[worlds], GONE

    def present(self, plan: Plan, clock: Ints) -> Ints:
        """Workers of each shift that are on duty in the step `clock` `[B]`, if nobody is sent home, `[B, S, J]`."""
        found: Ints = self.left * plan.on_duty[np.arange(len(clock)), :, :, clock]
        return found

    def ordered(self, call: Ints, home: Ints, share: Floats, plan: Plan, clock: Ints) -> Orders:
        """The orders that come nearest to what is wished for, and can be carried out.

        Nobody is called in who is not on call, or could not be there before the day ends; only those are sent home
        who are on duty by a shift. Of a team on duty the shares wished for are lent, all cut alike if they are more
        than the whole; they are rounded so that after each skill, in their order, the sum is the nearest whole number.

        Args:
            call: Workers wished for that are called in, `[B, S]`.
            home: Those that are sent home, `[B, S]`.
            share: Part of each team wished for by each skill, `[B, S, S]`.
            plan: The centres.
            clock: The step, `[B]`.
        """
        there = clock[:, None] + plan.lead < plan.steps[:, None]
        called = np.where(there, np.clip(call, 0, self.pool), 0)
        present = self.present(plan, clock).sum(axis=2)
        sent = np.clip(home, 0, present)
        duty = present - sent + self.called[np.arange(len(clock)), :, clock]
        possible = (plan.speed > 0) & ~np.eye(plan.speed.shape[1], dtype=np.bool_)
        part = np.where(possible, np.clip(share, 0.0, 1.0), 0.0)
        total = part.sum(axis=2, keepdims=True)
        part = part / np.maximum(total, 1.0)
        upto = np.minimum(np.floor(part.cumsum(axis=2) * duty[..., None] + 0.5).astype(np.int64), duty[..., None])
        return Orders(called, sent, np.diff(upto, axis=2, prepend=0))

    def order(self, orders: Orders, plan: Plan, clock: Ints) -> Floats:
        """Carries orders out at the beginning of a step; what leaving workers still work on [minutes], `[B, S]`.

        Of shifts those are sent home first that end first. Of a team's workers those leave, or are lent, that are free
        first; who is in a call ends it.
        """
        worlds, now = np.arange(len(clock)), (clock * plan.step)[:, None, None]
        steps = np.arange(self.called.shape[2])
        arrive = clock[:, None, None] + plan.lead[..., None]
        depart = arrive + plan.stay[..., None]
        self.called += orders.call[..., None] * ((steps >= arrive) & (steps < depart))
        later = np.arange(self.leaving.shape[2])
        self.leaving += orders.call[..., None] * (later == depart)
        self.pool -= orders.call
        ended = (self.left * (plan.ends == clock[:, None, None])).sum(axis=2)
        present = self.present(plan, clock)
        before = present.cumsum(axis=2) - present
        self.left -= np.clip(orders.home[..., None] - before, 0, present)
        leaving = ended + orders.home + self.leaving[worlds, :, clock]
        duty = present.sum(axis=2) - orders.home + self.called[worlds, :, clock]
        stayed = self.duty - leaving  # negative where those are sent home who would have come now
        rank = np.arange(self.free.shape[2])
        gone = np.clip(leaving, 0, self.duty)[..., None]
        overtime = np.where(rank < gone, np.maximum(np.where(rank < gone, self.free, 0.0) - now, 0.0), 0.0).sum(axis=2)
        kept = np.take_along_axis(self.free, np.minimum(rank + gone, rank[-1]), axis=2)
        fresh = np.where(rank < duty[..., None], now, GONE)
        free = np.where(rank < np.minimum(np.maximum(stayed, 0), duty)[..., None], kept, fresh)
        free.sort(axis=2)
        self.free, self.duty, self.lent = free, duty, orders.lent
        return overtime

    def posts(self, plan: Plan) -> Posts:
        """Where workers are in this step: the first to be free at the skills that they are lent to."""
        worlds, skills, workers = self.free.shape
        rank = np.arange(workers)
        upto = self.lent.cumsum(axis=2)
        queue = np.broadcast_to(np.arange(skills)[:, None], self.free.shape).copy()
        for skill in reversed(range(skills)):
            queue = np.where(rank < upto[:, :, skill, None], skill, queue)
        queue = np.where(rank < self.duty[..., None], queue, skills)
        speed = np.take_along_axis(plan.speed, np.minimum(queue, skills - 1), axis=2)
        flat = queue.reshape(worlds, -1)
        order = np.argsort(flat, axis=1, kind="stable")
        count = np.stack([(flat == skill).sum(axis=1) for skill in range(skills)], axis=1)
        place = np.arange(max(int(count.max(initial=1)), 1))
        first = count.cumsum(axis=1) - count
        there = place < count[..., None]
        spot = np.minimum(first[..., None] + place, flat.shape[1] - 1)
        worker = np.take_along_axis(order[:, None], spot, axis=2)
        free = np.take_along_axis(self.free.reshape(worlds, 1, -1), worker, axis=2)
        fast = np.take_along_axis(speed.reshape(worlds, 1, -1), worker, axis=2)
        return Posts(worker, there, np.where(there, free, GONE), np.where(there, fast, 1.0))

    def worked(self, posts: Posts, free: Floats) -> None:
        """Takes down when those on posts are free after a step, `[B, S, V]`."""
        worlds = np.broadcast_to(np.arange(len(free))[:, None, None], free.shape)
        flat = self.free.reshape(len(free), -1)
        flat[worlds[posts.there], posts.worker[posts.there]] = free[posts.there]
        self.free = np.sort(flat.reshape(self.free.shape), axis=2)

    def get_state(self) -> dict[str, Any]:
        """All of it, copied."""
        return {name: array.copy() for name, array in vars(self).items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, array in state.items():
            setattr(self, name, array.copy())
