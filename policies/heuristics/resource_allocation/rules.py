"""What a platform team would do: split evenly, deadlines first, DRF, or what adds most to welfare."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.resource_allocation.env import GROUP, AllocationEnv
from envs.resource_allocation.jobs import Jobs
from envs.resource_allocation.plan import Floats
from envs.resource_allocation.urgency import marginal_welfare
from policies.base import Policy, PolicyState
from policies.heuristics.resource_allocation.drf import drf
from policies.heuristics.resource_allocation.filling import filled

NEVER = -np.inf
"""How pressing a job is that is not to run."""


class Allocator(Policy):
    """A rule that sees all tenants and jobs, and says what each asks for."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        if not isinstance(env, AllocationEnv):
            raise TypeError(f"env: got {type(env).__name__}, allowed is AllocationEnv")
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The actions that ask for what the rule gives."""
        return self._env.actions_for(self.asked()), None

    @abstractmethod
    def asked(self) -> Floats:
        """Tasks that each slot asks for, `[B, A, J]`."""

    def usable(self) -> Floats:
        """Tasks that each slot could use, `[B, A, J]`; 0 where nobody is there."""
        env = self._env
        return env.slots.usable() * (env.slots.there & env.alive[GROUP][..., None])


class Everything(Allocator):
    """All ask for all that they can use; what is short is shared in proportion."""

    name = "everything"

    def asked(self) -> Floats:
        """All."""
        return self.usable()


class EqualSplit(Allocator):
    """Each asks for no more than an even part of the cluster, for its jobs alike."""

    name = "equal_split"

    def asked(self) -> Floats:
        """An even part."""
        env, usable = self._env, self.usable()
        part = (usable * env.slots.dominant).sum(axis=2)
        even = 1.0 / np.maximum(env.alive[GROUP].sum(axis=1), 1)[:, None]
        return usable * np.minimum(even / np.where(part > 0, part, 1.0), 1.0)[..., None]


class DominantResourceFairness(Allocator):
    """DRF of what machines have together, step by step; each tenant's jobs alike."""

    name = "drf"

    def asked(self) -> Floats:
        """What progressive filling gives."""
        env, usable = self._env, self.usable()
        demands = (usable[:, None] * env.slots.needs).sum(axis=3).swapaxes(1, 2)  # all its jobs are one task of it
        share = drf(demands, np.where(demands.sum(axis=2) > 0, 1.0, 0.0), env.capacity().sum(axis=1))
        return usable * share[..., None]


class Ordered(Allocator):
    """Serves jobs one after the other, the most pressing first."""

    def asked(self) -> Floats:
        """What fits, in that order."""
        env, index = self._env, self.index()
        usable = self.usable() * (index > NEVER)
        shape, slots = usable.shape, env.slots
        flat = (shape[0], shape[1] * shape[2])
        order = np.argsort(-index.reshape(flat), axis=1, kind="stable")
        capacity = env.capacity() * env.oversubscribed[:, None, None]
        given = filled(
            usable.reshape(flat),
            order,
            slots.needs.reshape(flat[0], -1, flat[1]),
            slots.allowed.reshape(flat[0], -1, flat[1]),
            capacity,
            slots.fewest().reshape(flat),
        )
        return given.reshape(shape)

    @abstractmethod
    def index(self) -> Floats:
        """How pressing each job is, `[B, A, J]`: the largest first, `NEVER` not at all."""


class FirstCome(Ordered):
    """First come, first served."""

    name = "first_come"

    def index(self) -> Floats:
        """The oldest first."""
        return -self._env.slots.since.astype(np.float64)


class ShortestJob(Ordered):
    """The job that takes least first."""

    name = "shortest"

    def index(self) -> Floats:
        """The shortest first."""
        jobs = Jobs.of(self._env.slots)
        return -jobs.laid(jobs.takes)


class EarliestDeadline(Ordered):
    """The job that is due first."""

    name = "deadline"

    def index(self) -> Floats:
        """The first that is due first; those without a deadline last."""
        return -np.where(np.isinf(self._env.slots.due), 1e9, self._env.slots.due)


class BestFit(Ordered):
    """The job whose needs fit best what is free: the largest product of the two (Grandl et al. 2014, Tetris)."""

    name = "best_fit"

    def index(self) -> Floats:
        """How well it fits, of a task of the largest size."""
        env = self._env
        free = env.capacity().sum(axis=1)
        shares = env.slots.needs * (1.0 / np.where(free > 0, free, np.inf))[..., None, None]
        found: Floats = shares.sum(axis=1) * env.slots.there
        return found


class Remembering(Ordered):
    """A rule that keeps an account of each tenant, and brings it up to date once a step."""

    def bind(self, env: BatchedEnv) -> None:
        """Opens the accounts."""
        super().bind(env)
        self._accounts = np.zeros(self._env.alive[GROUP].shape)
        self._clock = np.full(env.num_worlds, -1)

    def account(self) -> Floats:
        """Of each tenant, `[B, A]`."""
        env, slots = self._env, self._env.slots
        if not np.array_equal(self._clock, env.clock):
            before = np.where(env.clock[:, None] == 0, 0.0, self._accounts)
            self._accounts, self._clock = (
                self.after(before, (slots.granted * slots.dominant).sum(axis=2)),
                env.clock.copy(),
            )
        return self._accounts

    @abstractmethod
    def after(self, before: Floats, spent: Floats) -> Floats:
        """An account `[B, A]` after a step in which a tenant's jobs had so much, in dominant shares."""


class DynamicFairness(Remembering):
    """DRF over the run: first serves who has had the least of its dominant share, the oldest job first.

    Kash, Procaccia and Shah (2014), "No agent left behind", call fairness of what has been had so far *dynamic*.
    """

    name = "dynamic_drf"

    def index(self) -> Floats:
        """The tenant that has had least; its jobs by age."""
        found: Floats = -self.account()[..., None] - 1e-6 * self._env.slots.since
        return found

    def after(self, before: Floats, spent: Floats) -> Floats:
        """All that has been had."""
        return before + spent


class DeficitRoundRobin(Remembering):
    """Each tenant earns an even part of the cluster a step, and spends it on its oldest jobs; what is left is kept.

    Shreedhar and Varghese (1995), "Efficient fair queuing using deficit round robin", for work that goes on.
    """

    name = "deficit_round_robin"

    def index(self) -> Floats:
        """Jobs that are paid for, the oldest first; after them the others, by what is missing."""
        slots = self._env.slots
        order = np.argsort(np.where(slots.there, slots.since, np.iinfo(np.int64).max), axis=2, kind="stable")
        parts = np.take_along_axis(slots.usable() * slots.dominant, order, axis=2).cumsum(axis=2)
        cost = np.empty_like(parts)
        np.put_along_axis(cost, order, parts, axis=2)
        found: Floats = np.minimum(self.account()[..., None] - cost, 0.0) - 1e-6 * slots.since
        return found

    def after(self, before: Floats, spent: Floats) -> Floats:
        """What was not spent, and a part more; who has nothing to do keeps nothing."""
        env = self._env
        part = 1.0 / np.maximum(env.alive[GROUP].sum(axis=1), 1)[:, None]
        return np.where(env.slots.there.any(axis=2), np.maximum(before - spent, -1.0) + part, 0.0)


class MarginalWelfare(Ordered):
    """Serves first what adds most to the task's own objectives for what it takes, and nothing that takes from them.

    See `urgency.marginal_welfare`.
    """

    name = "marginal_welfare"

    def index(self) -> Floats:
        """Marginal welfare for what it takes."""
        env = self._env
        jobs = Jobs.of(env.slots)
        found = marginal_welfare(
            jobs,
            env.accounts,
            env.clock,
            env.alive[GROUP],
            env.alpha,
            env.objective_weights,
            env.money,
            env.energy_price(),
        )
        return np.where(jobs.laid(found) > 0, jobs.laid(found), NEVER)
