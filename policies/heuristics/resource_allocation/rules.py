"""What a platform team would do: split evenly, deadlines first, DRF, or what adds most to welfare."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.resource_allocation.env import GROUP, AllocationEnv
from envs.resource_allocation.plan import Floats
from envs.resource_allocation.urgency import least_time, marginal_welfare
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
            slots.gang.reshape(flat),
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
        return -least_time(self._env.slots)


class EarliestDeadline(Ordered):
    """The job that is due first."""

    name = "deadline"

    def index(self) -> Floats:
        """The first that is due first; those without a deadline last."""
        return -np.where(np.isinf(self._env.slots.due), 1e9, self._env.slots.due)


class MarginalWelfare(Ordered):
    """Serves first what adds most to the task's own objectives for what it takes, and nothing that takes from them.

    See `urgency.marginal_welfare`.
    """

    name = "marginal_welfare"

    def index(self) -> Floats:
        """Marginal welfare for what it takes."""
        env = self._env
        found = marginal_welfare(
            env.slots,
            env.accounts,
            env.clock,
            env.alive[GROUP],
            env.alpha,
            env.objective_weights,
            env.money,
            env.energy_price(),
        )
        return np.where(found > 0, found, NEVER)
