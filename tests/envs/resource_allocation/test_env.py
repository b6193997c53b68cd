"""Tests of the allocation env: the contract, where jobs and work go, what is paid, and what nobody can do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.contract import check_env
from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
from envs.resource_allocation.config import Tariff
from envs.resource_allocation.env import GROUP
from envs.resource_allocation.fairness import equivalent
from envs.resource_allocation.future import causes
from envs.resource_allocation.placing import loads
from envs.synthetic.disruption import Disruption
from envs.synthetic.workloads import Workload

WRONG: dict[str, Any] = {
    "failures": Disruption(chance=0.1, length=3),
    "leaving": Disruption(chance=0.05, length=4),
    "oversubscription": 1.4,
    "workload": Workload(cv=0.5),
}


def make(worlds: int = 1, first: int = 0, task: Any = None, **config: Any) -> AllocationEnv:
    """Worlds."""
    return AllocationEnv(AllocationConfig(**config), worlds, task=task, first_world=first)


def randomly(env: AllocationEnv, rng: np.random.Generator) -> Any:
    """A step in which anything is asked for."""
    shape = (env.num_worlds, env.size.tenants, env.size.slots)
    return env.step({GROUP: rng.choice([-1.0, 1.0, 0.3], shape).astype(np.float32)})


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_it_keeps_the_contract(mode: str) -> None:
    """Whatever fails, and whoever comes and goes."""
    task = AllocationTask(max_steps=20, tenants=5, load=1.3, **WRONG)
    check_env(lambda worlds, first: make(worlds, first, task, tenants=6, action_mode=mode), worlds=3, steps=45)


def test_the_last_tasks_of_a_gang_run() -> None:
    """A job of which less is left than a gang ends all the same: with room for all, none is there a step later."""
    env = make(24, task=AllocationTask(max_steps=60, load=0.05))
    env.reset(3)
    everything = {GROUP: np.ones((24, env.size.tenants, env.size.slots), np.float32)}
    ended = 0
    for _ in range(58):
        last = env.slots.there & (env.slots.left < env.slots.gang)
        kind, work = env.slots.kind.copy(), env.slots.work.copy()
        env.step(everything)
        assert not (last & env.slots.there & (env.slots.kind == kind) & (env.slots.work == work)).any()
        ended += int(last.sum())
    assert ended > 5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 5.0))
def test_jobs_are_somewhere_and_machines_hold(seed: int, load: float) -> None:
    """All jobs that came are done, late, dropped, in a slot or waiting for one; and what runs fits, failures or not."""
    env = make(4, task=AllocationTask(max_steps=40, load=load, **WRONG))
    env.reset(seed)
    rng = np.random.default_rng(seed)
    worlds = np.arange(4)
    for step in range(38):
        needs = env.slots.needs.reshape(4, env.size.resources, -1).copy()
        usage, capacity = env.slots.usage.reshape(4, 1, -1).copy(), env.capacity()
        randomly(env, rng)
        assert (loads(env.granted, needs) <= 1.4 * capacity * (1 + 1e-9) + 1e-12).all()
        assert (loads(env.granted, needs * usage) <= capacity * (1 + 1e-9) + 1e-12).all()
        accounts, slots, future = env.accounts, env.slots, env.future
        came = future.came[worlds, step + 1].sum(axis=1)
        taken = slots.taken.sum(axis=1)
        ended = accounts.done + accounts.late + accounts.lost
        assert (taken <= came).all()
        there = slots.there.sum(axis=(1, 2))
        np.testing.assert_array_equal(ended + there, taken)  # who left lost what waited for a slot too
        assert (slots.left <= slots.work + 1e-9).all()


def test_all_that_is_asked_for_is_worked_where_there_is_room() -> None:
    """With little to do jobs are done as fast as they can be: hardly one takes longer than its width allows."""
    task = AllocationTask(max_steps=80, load=0.02, tenants=2)
    env = make(16, task=task, slots=32)
    env.reset(0)
    for _ in range(79):
        env.step({GROUP: np.ones((16, 8, 32), np.float32)})
    assert env.accounts.done.sum() > 50
    assert env.accounts.late.sum() <= 0.02 * env.accounts.done.sum()  # two of the longest may meet by chance
    assert env.accounts.slowdown.sum() < 1.1 * env.accounts.done.sum()


def test_as_much_work_comes_as_is_said() -> None:
    """Of the scarcest resource `load` times what there is, on average over many worlds."""
    task = AllocationTask(max_steps=200, load=0.8, tenants=6)
    env = make(64, task=task)
    env.reset(1)
    plan, future = env.plan, env.future
    worlds = np.arange(64)[:, None, None]
    asked = (np.where(future.at < 200, future.work, 0.0)[..., None] * plan.needs[worlds, future.job]).sum(axis=(1, 2))
    share = (asked / 200 / plan.capacity.sum(axis=1)).mean(axis=0)
    assert share.max() == pytest.approx(0.8, rel=0.06)


def test_episodes_of_tasks_that_differ_are_those_of_each_alone() -> None:
    """What counts has no part in what comes, so that worlds differing in that are drawn together; whatever has, has."""
    plain = AllocationTask(max_steps=30, **WRONG)
    counted = {"alpha": 3.0, "worth": 0.2, "fairness": 0.1, "carbon_price": 2.0, "liars": 2, "over": "step"}
    others = [counted | {"oversubscription": 2.0}, {"load": 2.0}, {"tenants": 5}, {"max_steps": 20}]
    others += [{"workload": Workload(cv=1.0)}, {"failures": None}, {"leaving": None}]
    others += [{"price": Tariff(mean=1.0, cv=0.3)}, {"carbon": Tariff(mean=1.0, cv=0.3)}]
    tasks = [plain, *(plain.model_copy(update=other) for other in others)]
    env = make(len(tasks), task=plain)
    env.set_tasks(tasks)
    env.reset(5)
    for world, task in enumerate(tasks):
        alone = make(1, world, task)
        alone.reset(5)
        for name, mine in vars(alone.future).items():
            among = getattr(env.future, name)[world][tuple(slice(length) for length in mine.shape[1:])]
            np.testing.assert_array_equal(among, mine[0], err_msg=f"{name} of {task}")
    assert causes(tasks[0]) == causes(tasks[1])
    assert len({causes(task) for task in tasks}) == len(tasks) - 1


def test_fairness_adds_up_to_what_it_came_to() -> None:
    """Over an episode it is the equivalent of the tenants' service, times the steps."""
    task = AllocationTask(max_steps=30, load=2.0, alpha=2.0)
    env = make(4, task=task)
    env.reset(3)
    rng, total = np.random.default_rng(0), np.zeros(4)
    for _ in range(29):
        total += randomly(env, rng).objectives[GROUP][:, 0, 1]
    np.testing.assert_allclose(total, 29 * equivalent(env.accounts.service(), 2.0), rtol=1e-5)


def test_nobody_has_more_of_a_step_than_all_it_could_use() -> None:
    """Jobs that end in it count among what was wanted, as they do among what was had."""
    env = make(16, task=AllocationTask(max_steps=40, load=0.3, alpha=0.0, over="step"))
    env.reset(0)
    paid = [env.step({GROUP: np.ones((16, 8, 4), np.float32)}).objectives[GROUP][..., 1] for _ in range(39)]
    assert env.accounts.done.sum() > 100
    assert np.max(paid) <= 1 + 1e-6
    assert np.mean(paid) > 0.9


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_few_levels_ask_for_as_much_in_all(levels: int) -> None:
    """What one slot is rounded off goes to the next: a tenant's sum is off by half a level at most."""
    env = make(8, task=AllocationTask(load=2.0), action_mode="discrete", levels=levels)
    env.reset(4)
    for _ in range(10):
        env.step({GROUP: np.zeros((8, 8, 4), np.int64)})
    shares = np.random.default_rng(1).random((8, 8, 4)) * np.minimum(env.slots.left / np.maximum(env.slots.width, 1), 1)
    chosen = env.actions_for(shares * env.slots.width)[GROUP]
    wanted = np.where(env.slots.there, shares * (levels - 1), 0.0)
    assert (np.abs(chosen.sum(axis=2) - wanted.sum(axis=2)) <= 0.5 + 1e-9).all()
    assert (np.abs(chosen - wanted) < 1.0 + 1e-9).all()


def test_a_liar_asks_for_all() -> None:
    """Whatever its action says; nobody else does."""
    env = make(4, task=AllocationTask(load=2.0, liars=1))
    env.reset(0)
    for _ in range(5):
        asked = env.requests({GROUP: np.full((4, 8, 4), -1.0, np.float32)})
        np.testing.assert_array_equal(asked[:, 0] > 0, env.slots.there[:, 0])
        assert (asked[:, 1:] == 0).all()
        env.step({GROUP: -np.ones((4, 8, 4), np.float32)})


def test_a_quota_is_kept() -> None:
    """However much trainers ask for, they get half the cluster at most."""
    env = make(32, task=AllocationTask(max_steps=60, load=3.0, tenants=3), tenants=3)
    env.reset(2)
    most = 0.0
    for _ in range(50):
        dominant = env.slots.dominant.copy()
        env.step({GROUP: np.ones((32, 3, 4), np.float32)})
        part = (env.granted.sum(axis=1).reshape(dominant.shape) * dominant).sum(axis=2)
        assert (part <= env.quota * (1 + 1e-9)).all()
        most = max(most, part[env.quota < 1].max(initial=0.0))
    assert most > 0.45


def test_who_stops_loses_work_since_the_last_checkpoint() -> None:
    """A job that ran and runs no more has more left, by its checkpoint for each task still to do, or all."""
    env = make(16, task=AllocationTask(max_steps=100, load=1.0))
    env.reset(0)
    for _ in range(30):
        env.step({GROUP: np.ones((16, 8, 4), np.float32)})
    slots = env.slots
    left, ran = slots.left.copy(), slots.granted.copy()
    lost, same = slots.checkpoint.copy(), slots.since.copy()
    expected = np.minimum(left + np.minimum(ran, left) * lost, slots.work)
    env.step({GROUP: -np.ones((16, 8, 4), np.float32)})
    stayed = slots.there & (slots.since == same) & (ran > 0)
    assert (lost[stayed] > 0).any()
    np.testing.assert_allclose(slots.left[stayed], expected[stayed])


def test_something_must_count() -> None:
    """Weights that are all zero leave nothing to be gained."""
    with pytest.raises(ValueError, match="worth: got 0 beside fairness 0, allowed is one of them above 0"):
        AllocationTask(worth=0.0, fairness=0.0)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"cluster": "none"}, r"cluster: got 'none', allowed are cloud"),
        ({"tenants": 9}, r"tenants: got 9, allowed is at most the run's, 8"),
        (
            {"failures": {"chance": 0.1, "length": 2, "places": ["abacus"]}},
            r"failures.places: got 'abacus', allowed are standard, memory, gpu",
        ),
    ],
)
def test_what_is_not_there_is_named(task: dict[str, Any], said: str) -> None:
    """One line with the key."""
    with pytest.raises(ValueError, match=said):
        make(task=AllocationTask(**task))
