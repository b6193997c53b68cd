"""What chance has in store for a day, drawn when it begins: nobody sees it but those who must know all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from envs.resource_allocation.workforce.config import WorkforceTask
from envs.resource_allocation.workforce.levels import quantile
from envs.resource_allocation.workforce.plan import Floats, Ints, Plan, Size
from envs.streams import drawn_by

LONGEST = 10.0
"""Lognormal handling times are cut off at so many times their mean."""
NEVER = 1e9
"""When callers give up who never do [minutes]."""


@dataclass
class Future:
    """Of `B` worlds, up to `T` steps and `N` calls of a skill; a world's own day may be shorter.

    Attributes:
        level: How busy the day is, `[B, S]`.
        rate: Calls that were to be expected in a step, all known that nobody knows, `[B, S, T]`.
        came: How many calls came before each step, `[B, S, T + 1]`.
        at: When they came [minutes since opening], in their order, `[B, S, N]`.
        work: How long they take [minutes], `[B, S, N]`.
        until: When their callers give up, `[B, S, N]`.
        staffed: Workers of each shift that did not stay away, `[B, S, J]`.
    """

    level: Floats
    rate: Floats
    came: Ints
    at: Floats
    work: Floats
    until: Floats
    staffed: Ints

    @classmethod
    def empty(cls, worlds: int, size: Size) -> Future:
        """Nothing happens."""
        skills = (worlds, size.skills)
        return cls(
            level=np.ones(skills),
            rate=np.zeros((*skills, size.steps)),
            came=np.zeros((*skills, size.steps + 1), np.int64),
            at=np.zeros((*skills, 1)),
            work=np.zeros((*skills, 1)),
            until=np.zeros((*skills, 1)),
            staffed=np.zeros((*skills, size.shifts), np.int64),
        )

    def draw(self, worlds: Ints, plan: Plan, task: WorkforceTask, rngs: Sequence[np.random.Generator]) -> None:
        """Draws a day of each of some worlds `[E]` that play the same task.

        Args:
            worlds: The worlds.
            plan: The plans of all worlds.
            task: What they play.
            rngs: Where from, `[E]`.
        """
        first = int(worlds[0])
        skills = int(plan.skill[first].sum())
        steps, room = task.max_steps, self.rate.shape[2]
        luck = drawn_by(rngs, lambda rng: rng.random(1 + skills))
        common = quantile(task.days.common, luck[:, 0])
        if task.days.recorded is not None:
            record = task.days.recorded.load()
            common = record[(luck[:, 0] * len(record)).astype(np.int64)] / record.mean()
        level = np.ones((len(worlds), self.level.shape[1]))
        level[:, :skills] = common[:, None] * quantile(task.days.own, luck[:, 1:])
        factor = np.ones((len(worlds), level.shape[1], room))
        factor[:, :skills, :steps] = task.workload.draw(steps, skills, rngs).swapaxes(1, 2)
        rate = plan.rate[worlds] * level[..., None] * factor
        rate[:, :, steps:] = 0.0
        counts = np.stack([rng.poisson(own) for rng, own in zip(rngs, rate, strict=True)])
        self.level[worlds], self.rate[worlds] = level, rate
        self.came[worlds, :, 1:] = counts.cumsum(axis=2)
        away = drawn_by(rngs, lambda rng: rng.binomial(plan.shift[first], task.absence))
        self.staffed[worlds] = plan.shift[worlds] - away
        self._lay(worlds, counts, plan, rngs)

    def _lay(self, worlds: Ints, counts: Ints, plan: Plan, rngs: Sequence[np.random.Generator]) -> None:
        """Writes down the calls one after the other."""
        total = counts.sum(axis=2)
        self._longer(int(total.max(initial=1)))
        for name, filled in (("at", NEVER), ("work", 0.0), ("until", NEVER)):
            getattr(self, name)[worlds] = filled
        rows, steps = counts.shape[1], counts.shape[2]
        number = np.repeat(np.arange(counts.size), counts.ravel())
        row, step = np.divmod(number, steps)
        each = total.ravel()
        rank = np.arange(len(row)) - np.repeat(each.cumsum() - each, each)
        many = total.sum(axis=1)
        drawn = [
            np.concatenate([draw(rng, n) for rng, n in zip(rngs, many, strict=True)])
            for draw in (_evenly, _normally, _patiently)
        ]
        world, skill = worlds[row // rows], row % rows
        minutes = plan.step[world] * (step + drawn[0])
        # Within a step calls come in the order of their times; sorting them all keeps worlds and steps together.
        order = np.lexsort((minutes, row))
        minutes = minutes[order]
        work = plan.handling[world, skill] * _handling(plan.cv[world, skill], drawn[1])
        patience = plan.patience[world, skill]
        until = np.where(
            np.isfinite(patience), minutes + np.where(np.isfinite(patience), patience, 0.0) * drawn[2], NEVER
        )
        where = (world, skill, rank)
        self.at[where], self.work[where], self.until[where] = minutes, work, until

    def _longer(self, calls: int) -> None:
        """Makes room for more calls."""
        for name in ("at", "work", "until"):
            array = getattr(self, name)
            if calls > array.shape[2]:
                filled = 0.0 if name == "work" else NEVER
                missing = np.full((*array.shape[:2], calls - array.shape[2]), filled)
                setattr(self, name, np.concatenate([array, missing], axis=2))


def _evenly(rng: np.random.Generator, count: int) -> Floats:
    return rng.random(count)


def _normally(rng: np.random.Generator, count: int) -> Floats:
    return rng.standard_normal(count)


def _patiently(rng: np.random.Generator, count: int) -> Floats:
    return rng.standard_exponential(count)


def _handling(cv: Floats, drawn: Floats) -> Floats:
    """Handling times as shares of their mean: exponential where `cv` is 0, else lognormal, cut off at `LONGEST`.

    The mean of what is cut off, `E min(X, c) = Phi(z - s) + c (1 - Phi(z))` for a lognormal of mean 1 with
    `z = (ln c + s^2 / 2) / s`, is made up for.
    """
    exponential = cv <= 0
    s = np.sqrt(np.log1p(np.where(exponential, 1.0, cv) ** 2))
    z = (np.log(LONGEST) + s**2 / 2) / s
    mean = ndtr(z - s) + LONGEST * ndtr(-z)
    lognormal = np.minimum(np.exp(s * drawn - s**2 / 2), LONGEST) / mean
    return np.where(exponential, -np.log(ndtr(-drawn)), lognormal)
