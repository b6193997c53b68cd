"""The fairest allocation there is, by convex programs: the optimum of a step, for any aversion to inequality."""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from envs.resource_allocation.env import AllocationEnv
from envs.resource_allocation.fairness import LARGEST
from envs.resource_allocation.placing import Bools, Floats
from policies.heuristics.resource_allocation.rules import Allocator


@dataclass(frozen=True)
class Instance:
    """Who could use what, in one step of one world.

    Attributes:
        usable: Tasks that each job could use, `[A, J]`.
        value: Of a task, `[A, J]`.
        needs: What a task takes, `[R, A, J]`.
        allowed: Where it runs, `[M, A, J]`.
        capacity: What there is, `[M, R]`.
    """

    usable: Floats
    value: Floats
    needs: Floats
    allowed: Bools
    capacity: Floats


def fairest(instance: Instance, alpha: float) -> Floats:
    """Tasks of each job, `[A, J]`, for which the equally distributed equivalent of service is largest.

    Service is the share of the value that a tenant could use that it gets. For alpha 0 this is a linear program, for 1
    the Nash welfare (its sum of logarithms), from `fairness.LARGEST` on the largest least, else a sum of powers
    (Mo and Walrand 2000). What is left where the least decides is not handed out further.

    Args:
        instance: What there is.
        alpha: Aversion to inequality, 0 or more.
    """
    tenants, slots = instance.usable.shape
    jobs = np.flatnonzero(instance.usable.ravel() > 0)
    found = np.zeros(tenants * slots)
    if not len(jobs):
        return found.reshape(tenants, slots)
    usable, owner = instance.usable.ravel()[jobs], jobs // slots
    needs = instance.needs.reshape(len(instance.needs), -1)[:, jobs]
    allowed = instance.allowed.reshape(len(instance.allowed), -1)[:, jobs]
    # In shares of what each could use, of what there is: figures near 1, which solvers like.
    shares = cp.Variable((len(allowed), len(jobs)), nonneg=True)
    total = cp.sum(shares, axis=0)
    rules = [total <= 1, cp.multiply(shares, ~allowed) == 0]
    for place, there in enumerate(instance.capacity):
        some = there > 0
        rules.append((needs[some] * usable / there[some, None]) @ shares[place] <= 1)
        if (needs[~some] > 0).any():
            rules.append(shares[place, (needs[~some] > 0).any(axis=0)] == 0)
    worth = instance.value.ravel()[jobs] * usable
    who = np.unique(owner)
    part = np.where(owner == who[:, None], worth, 0.0)
    service = (part / part.sum(axis=1, keepdims=True)) @ total
    cp.Problem(cp.Maximize(_welfare(service, alpha)), rules).solve(solver=cp.CLARABEL)
    found[jobs] = np.clip(total.value, 0.0, 1.0) * usable
    return found.reshape(tenants, slots)


def _welfare(service: cp.Expression, alpha: float) -> cp.Expression:
    """A concave function that is largest where the equivalent is."""
    if alpha == 0:
        return cp.sum(service)
    if alpha >= LARGEST:
        return cp.min(service)
    if alpha == 1:
        return cp.sum(cp.log(service))
    powers = cp.sum(cp.power(service, 1 - alpha))
    return powers if alpha < 1 else -powers


class Fairest(Allocator):
    """The optimum of each step by itself, which looks neither back nor ahead."""

    name = "fairest"

    def asked(self) -> Floats:
        """What the programs find."""
        env = self._env
        return np.stack([fairest(instance_of(env, world), float(env.alpha[world])) for world in range(env.num_worlds)])


def instance_of(env: AllocationEnv, world: int) -> Instance:
    """What there is in a world now."""
    slots = env.slots
    usable = slots.usable()[world] * (slots.there[world] & env.alive["tenant"][world][:, None])
    return Instance(usable, slots.value[world], slots.needs[world], slots.allowed[world], env.capacity()[world])
