"""Tests of the jobs in hand, one after the other."""

from __future__ import annotations

import numpy as np

from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
from envs.resource_allocation.env import GROUP
from envs.resource_allocation.jobs import Jobs


def played(worlds: int = 5) -> AllocationEnv:
    """Worlds with some jobs in hand, and some slots that are empty."""
    env = AllocationEnv(AllocationConfig(tenants=6, slots=3), worlds, task=AllocationTask(load=1.2))
    env.reset(2)
    for _ in range(7):
        env.step({GROUP: np.zeros((worlds, 6, 3), np.float32)})
    return env


def test_they_are_what_lies_in_slots() -> None:
    """Field by field, laid back into slots they are what was there, and empty slots are 0."""
    env = played()
    jobs, slots = Jobs.of(env.slots), env.slots
    assert 0 < len(jobs.place) < slots.there.size
    for name in ("kind", "left", "work", "due", "width", "granted", "value", "dominant", "gang", "priority"):
        np.testing.assert_array_equal(jobs.laid(getattr(jobs, name)), getattr(slots, name), err_msg=name)
    np.testing.assert_array_equal(jobs.laid(jobs.usable), slots.usable())
    np.testing.assert_array_equal(jobs.count, slots.there.sum(axis=(1, 2)))


def test_sums_are_those_of_their_slots() -> None:
    """By tenant, by world, and by kind of each world."""
    env = played()
    jobs, slots = Jobs.of(env.slots), env.slots
    np.testing.assert_allclose(jobs.by_tenant(jobs.left), slots.left.sum(axis=2))
    np.testing.assert_allclose(jobs.by_world(jobs.left), slots.left.sum(axis=(1, 2)))
    of_kind = (slots.kind[..., None] == np.arange(env.size.jobs)) & slots.there[..., None]
    np.testing.assert_allclose(
        jobs.kinds(env.plan).together(jobs.left), (slots.left[..., None] * of_kind).sum(axis=(1, 2))
    )


def test_tables_by_kind_are_looked_up() -> None:
    """What a job's kind needs and where it may run is what its slot says."""
    env = played()
    jobs, slots = Jobs.of(env.slots), env.slots
    kinds = jobs.kinds(env.plan)
    np.testing.assert_array_equal(kinds.each(env.plan.value), jobs.value)
    in_slots = np.nonzero(slots.there)
    for table, lying in ((kinds.needs, slots.needs), (kinds.allowed, slots.allowed)):
        np.testing.assert_array_equal(kinds.on_machines(table), np.moveaxis(lying, 1, 0)[:, *in_slots])
