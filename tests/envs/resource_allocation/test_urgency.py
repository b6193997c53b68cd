"""Tests of the order in which a good scheduler serves jobs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask, urgency
from envs.resource_allocation.env import GROUP
from envs.resource_allocation.fairness import equivalent
from envs.resource_allocation.jobs import Jobs
from envs.resource_allocation.urgency import ahead, marginal_welfare


def index_of(env: AllocationEnv, **changed: np.ndarray) -> np.ndarray:
    """The index of all jobs in hand."""
    given = {
        "clock": env.clock,
        "alive": env.alive[GROUP],
        "alpha": env.alpha,
        "weights": env.objective_weights,
        "money": env.money,
        "energy": env.energy_price(),
        **changed,
    }
    jobs = Jobs.of(env.slots)
    return jobs.laid(marginal_welfare(jobs, env.accounts, **given))


def played(steps: int = 12, **task: object) -> AllocationEnv:
    """Worlds in which something has happened."""
    env = AllocationEnv(AllocationConfig(), 4, task=AllocationTask(load=1.5, **task))
    env.reset(1)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        env.step({GROUP: rng.uniform(-1, 1, (4, 8, 4)).astype(np.float32)})
    return env


def test_fairness_alone_is_its_slope() -> None:
    """Where only fairness counts the index is how much a task more would add to it, by finite differences."""
    env = played(worth=0.0)
    found = index_of(env)
    slots, accounts = env.slots, env.accounts
    wanted = accounts.wanted + (slots.usable() * slots.value).sum(axis=2)
    world, tenant, slot = (int(axis[0]) for axis in np.nonzero(slots.there & (slots.granted == 0)))
    service = np.maximum(accounts.service(), 0.01)
    more = service.copy()
    more[world, tenant] += 1e-6 / wanted[world, tenant]
    slope = (equivalent(more, env.alpha) - equivalent(service, env.alpha))[world] / 1e-6
    expected = (env.clock[world] + 1) * slope * slots.value[world, tenant, slot] / slots.dominant[world, tenant, slot]
    assert found[world, tenant, slot] == pytest.approx(expected, rel=1e-3)


def test_value_alone_is_urgency_times_what_it_is_worth_for_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out for one job (Smith 1956; Vepsalainen and Morton 1987), without the fairness that earns value, too."""
    monkeypatch.setattr(urgency, "EVEN", 0.0)
    env = played(fairness=0.0)
    found, slots = index_of(env), env.slots
    takes = np.where(slots.there, slots.left / np.where(slots.there, slots.width, 1.0), 0.0)
    world, tenant, slot = (int(axis[0]) for axis in np.nonzero(slots.there & (slots.granted == 0) & (slots.left > 1)))
    at = world, tenant, slot
    usual = max(takes[world].sum() / slots.there[world].sum(), 1.0)
    slack = slots.due[at] - env.clock[world] - takes[at]
    pressing = 0.0 if slack < 0 else np.exp(-slack / (urgency.PATIENCE * usual))
    worth = slots.value[at] * slots.work[at] / slots.left[at] / slots.dominant[at]
    assert found[at] == pytest.approx(pressing * worth / (8 * env.money[world]))


def test_dear_energy_makes_work_not_worth_it() -> None:
    """At a price beyond what work is worth nothing is."""
    env = played(fairness=0.0)
    assert (index_of(env)[env.slots.there] >= 0).all()
    assert (index_of(env, energy=np.full(4, 1e6))[env.slots.there] < 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_ahead_is_what_comes_before(seed: int) -> None:
    """Of the resource that a job needs and that those before it take most of, one by one."""
    rng = np.random.default_rng(seed)
    index, needed = rng.random((2, 3, 4)), rng.random((2, 2, 3, 4)) < 0.7
    asked = rng.random((2, 2, 3, 4)) * needed
    world, flat = np.repeat([0, 1], 12), asked.swapaxes(0, 1).reshape(2, -1)
    found = ahead(world, index.ravel(), flat).reshape(index.shape)
    for world, tenant, slot in np.ndindex(index.shape):
        before = index[world] > index[world, tenant, slot]
        most = max(asked[world, r][before].sum() if needed[world, r, tenant, slot] else 0.0 for r in range(2))
        assert found[world, tenant, slot] == pytest.approx(most)
