"""What a platform team would do: split evenly, deadlines first, DRF, or what adds most to welfare."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.resource_allocation.env import GROUP, AllocationEnv
from envs.resource_allocation.fairness import LEAST, equivalent
from envs.resource_allocation.plan import Floats
from policies.base import Policy, PolicyState
from policies.heuristics.resource_allocation.drf import drf
from policies.heuristics.resource_allocation.filling import filled

SHARPEST = 8.0
"""Largest aversion to inequality that marginal welfare reckons with: beyond it one tenant's need hides all others'."""


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
        env, usable = self._env, self.usable()
        shape, slots = usable.shape, env.slots
        flat = (shape[0], shape[1] * shape[2])
        order = np.argsort(-self.index().reshape(flat), axis=1, kind="stable")
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
        """How pressing each job is, `[B, A, J]`: the largest first."""

    def takes(self) -> Floats:
        """Least time that a job still takes [steps]."""
        slots = self._env.slots
        left = np.where(np.isinf(slots.left), 0.0, slots.left)
        return left / np.where(slots.there, slots.width, 1.0)

    def slack(self) -> Floats:
        """Time to its deadline beyond that [steps]."""
        return self._env.slots.due - self._env.clock[:, None, None] - self.takes()


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
        return -self.takes()


class EarliestDeadline(Ordered):
    """The job that is due first."""

    name = "deadline"

    def index(self) -> Floats:
        """The first that is due first; those without a deadline last."""
        return -np.where(np.isinf(self._env.slots.due), 1e9, self._env.slots.due)


class MarginalWelfare(Ordered):
    """Serves first what adds most to the task's own objectives for what it takes.

    Gradient scheduling (Stolyar 2005): in each step the work is done whose marginal utility is largest, given what
    everybody has had so far; for concave utilities of long-run averages it is asymptotically optimal. Of a task of a
    job with value `v` a task-step that takes the share `d` of the cluster it is

        v / d * (worth * urgency * work / left / (n * money) + fairness * t / n * (E / S)^alpha / wanted)

    where `S` is the tenant's service, `E` the equally distributed equivalent of all, `t` the steps so far, and `wanted`
    the value it could have had. Value is paid for whole jobs that are done in time: so what is worth most for what is
    *left* comes first (Smith 1956), and `urgency` is that of the apparent tardiness cost rule (Vepsalainen and Morton
    1987), `exp(-slack / (k * mean time taken))`, none for who comes too late.

    Args:
        patience: The rule's `k`.
    """

    name = "marginal_welfare"

    def __init__(self, patience: float = 4.0) -> None:
        self._patience = patience

    def index(self) -> Floats:
        """Marginal welfare for what it takes."""
        env, slots, accounts = self._env, self._env.slots, self._env.accounts
        dominant, value = slots.dominant, slots.value
        alive = env.alive[GROUP]
        count = np.maximum(alive.sum(axis=1), 1)[:, None]
        takes, slack = self.takes(), self.slack()
        usual = takes.sum(axis=(1, 2)) / np.maximum(slots.there.sum(axis=(1, 2)), 1)
        late = slack < -1e-9
        pressing = np.exp(-np.clip(slack, 0.0, 1e3) / (self._patience * np.maximum(usual, 1.0)[:, None, None]))
        urgency = np.where(np.isinf(slots.due), 1.0, np.where(late, 0.0, pressing))
        weights = env.objective_weights
        earned = weights[:, 0, None, None] * urgency / (count * env.money[:, None])[..., None]
        service = np.maximum(accounts.service(), LEAST)
        even = equivalent(service, env.alpha, alive)[:, None]
        wanted = accounts.wanted + (slots.usable() * value).sum(axis=2)
        steps = (env.clock + 1)[:, None]
        alpha = env.alpha[:, None]
        share = (even / service) ** np.minimum(alpha, SHARPEST)
        fair = weights[:, 1, None] * steps / count * share / np.where(wanted > 0, wanted, 1.0)
        rate = value / np.where(dominant > 0, dominant, 1.0)
        left = np.where(np.isinf(slots.left), 1.0, np.maximum(slots.left, 1.0))
        whole = np.where(np.isinf(slots.work), 1.0, slots.work)
        found: Floats = rate * (earned * whole / left + fair[..., None])
        return found
