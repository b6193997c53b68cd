"""Tests of the workforce env: the contract, where calls and workers are, what is paid, and what nobody can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.contract import check_env
from envs.resource_allocation.fairness import equivalent
from envs.resource_allocation.workforce import WorkforceConfig, WorkforceEnv, WorkforceTask
from envs.resource_allocation.workforce.config import Days
from envs.resource_allocation.workforce.env import GROUP
from envs.synthetic.demand import Recorded
from envs.synthetic.workloads import Workload

WILD: dict[str, Any] = {
    "days": Days(common=0.3, own=0.3),
    "absence": 0.2,
    "workload": Workload(cv=0.4, rho=0.7),
}


def make(worlds: int = 1, first: int = 0, task: Any = None, **config: Any) -> WorkforceEnv:
    """Worlds."""
    return WorkforceEnv(WorkforceConfig(**config), worlds, task=task, first_world=first)


def wildly(env: WorkforceEnv, rng: np.random.Generator) -> dict[str, Any]:
    """Actions that ask for anything."""
    shape = (env.num_worlds, env.size.skills, 3 * env.size.skills)
    return {GROUP: rng.choice([-1.0, -0.5, 0.0, 0.6, 1.0], shape).astype(np.float32)}


def idly(env: WorkforceEnv) -> dict[str, Any]:
    """Actions that leave everything as planned."""
    return {GROUP: np.full((env.num_worlds, env.size.skills, 3 * env.size.skills), -1.0, np.float32)}


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_it_keeps_the_contract(mode: str) -> None:
    """Whoever stays away, and however busy it is."""
    task = WorkforceTask(max_steps=10, **WILD)
    check_env(lambda worlds, first: make(worlds, first, task, action_mode=mode, centres=("desk",)), worlds=2, steps=22)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 2.5))
def test_calls_and_workers_are_somewhere(seed: int, load: float) -> None:
    """Whatever is ordered, calls are answered, lost or waiting, and each worker is in one place at most, and exists."""
    env = make(2, task=WorkforceTask(max_steps=24, load=load, **WILD))
    env.reset(seed)
    rng, plan = np.random.default_rng(seed), env.plan
    for step in range(23):
        orders = env.orders(actions := wildly(env, rng))
        present = env.staff.present(plan, env.now()).sum(axis=2)
        assert (orders.call >= 0).all()
        assert (orders.call <= env.staff.pool).all()
        assert (orders.home <= present).all()
        env.step(actions)
        staff, accounts = env.staff, env.accounts
        known = accounts.answered + accounts.abandoned + env.queues.count
        np.testing.assert_array_equal(known, env.future.came[:, :, step + 1])
        assert (staff.lent >= 0).all()
        assert (staff.lent.sum(axis=2) <= staff.duty).all()
        assert (staff.lent[plan.speed == 0] == 0).all()
        posts = staff.posts(plan)
        np.testing.assert_array_equal(posts.there.sum(axis=(1, 2)), staff.duty.sum(axis=1))
        for world in range(2):
            workers = posts.worker[world][posts.there[world]]
            assert len(set(workers.tolist())) == len(workers)
        np.testing.assert_array_equal(np.isfinite(staff.free).sum(axis=2), staff.duty)
        assert (accounts.called == plan.on_call - staff.pool).all()
        rostered = (env.future.staffed * plan.on_duty[:, :, :, step]).sum(axis=2)
        assert (staff.duty <= rostered + accounts.called).all()


def test_a_day_as_planned_costs_what_the_roster_says() -> None:
    """Nobody is called in, sent home or lent; who ends a call after his shift is paid for that, and no more."""
    env = make(4, task=WorkforceTask(max_steps=48, days=Days(common=0.2)))
    env.reset(0)
    for _ in range(47):
        env.step(idly(env))
    accounts, plan = env.accounts, env.plan
    for nothing in (accounts.called, accounts.sent, accounts.lent):
        assert not nothing.any()
    hours = (plan.shift[..., None] * plan.on_duty[..., :47]).sum(axis=(2, 3))
    planned = hours * plan.wage
    assert (accounts.wages >= planned - 1e-9).all()
    assert (accounts.wages <= planned * 1.02).all()
    assert (accounts.wages > planned + 1e-9).any()


def test_who_is_called_in_comes_stays_and_is_paid_to_the_end() -> None:
    """All on call, in the second step: there `lead` steps later, for `stay` steps, at the premium."""
    env = make(2, task=WorkforceTask(max_steps=12, load=3.0, lending=False))
    env.reset(0)
    actions = idly(env)
    own = np.arange(4)
    actions[GROUP].reshape(2, 4, 4, 3)[:, own, own, 0] = 1.0
    plan, there = env.plan, []
    for step in range(12):
        expected = (env.staff.left * plan.on_duty[..., step]).sum(axis=2)
        final = env.step(actions if step == 1 else idly(env)).final
        if final is None:
            there.append(env.staff.duty - expected)
    assert (plan.lead[0] == [3, 3, 4, 3]).all()
    came = np.stack(there)
    for skill in range(4):
        begin = 1 + plan.lead[0, skill]
        assert (came[:begin, :, skill] == 0).all()
        assert (came[begin:, :, skill] == plan.on_call[:, skill]).all()
    assert final is not None
    planned = (plan.shift[..., None] * plan.on_duty[..., :12]).sum(axis=(2, 3)) * plan.wage
    extra = plan.on_call * plan.stay * plan.wage * plan.premium
    total = final.metrics["wage_bill"]
    np.testing.assert_allclose(total, (planned + extra).sum(axis=1), rtol=0.01)
    assert (total >= (planned + extra).sum(axis=1) - 1e-6).all()


def test_those_of_the_shift_that_ends_first_go_home() -> None:
    """Who is sent home is gone for the day, is paid no more, and the shift that ends last stays to the end."""
    env = make(1, task=WorkforceTask(max_steps=30, load=0.3, lending=False))
    env.reset(0)
    actions = idly(env)
    own = np.arange(4)
    actions[GROUP].reshape(1, 4, 4, 3)[:, own, own, 1] = 1.0
    for _ in range(6):
        before = env.staff.left.copy()
        orders = env.orders(actions)
        present = env.staff.present(env.plan, env.now())
        env.step(actions)
        gone = before - env.staff.left
        np.testing.assert_array_equal(gone.sum(axis=2), orders.home)
        for skill in range(4):
            touched = np.flatnonzero(gone[0, skill])
            if touched.size:
                first = present[0, skill, : touched.max()] - gone[0, skill, : touched.max()]
                assert (first == 0).all()
    assert env.accounts.sent.sum() > 5


def test_lent_workers_are_rounded_to_the_nearest_sum() -> None:
    """Of a team of eleven, so that after each skill the sum is the nearest; never more than there are."""
    env = make(1)
    env.reset(0)
    for _ in range(5):
        env.step(idly(env))
    assert env.staff.duty[0, 0] == 11
    none = np.zeros((1, 4), np.int64)
    for wished, lent in (
        ([0.0, 0.5, 0.0, 0.25], [0, 6, 0, 2]),  # 5.5 and 8.25 in all
        ([0.0, 0.5, 1.0, 0.75], [0, 4, 0, 7]),  # more than the whole: 4.4 and 11; they do not know loans
        ([1.0, 0.04, 0.0, 0.0], [0, 0, 0, 0]),
    ):
        share = np.zeros((1, 4, 4))
        share[0, 0] = wished
        assert env.staff.ordered(none, none, share, env.plan, env.now()).lent[0, 0].tolist() == lent


def test_a_lent_worker_answers_calls_elsewhere() -> None:
    """With accounts' workers lent to cards, whose callers would else give up, fewer cards calls are lost."""
    lost = []
    for lend in (-1.0, 1.0):
        env = make(16, task=WorkforceTask(max_steps=20, absence=0.3))
        env.reset(3)
        actions = idly(env)
        actions[GROUP].reshape(16, 4, 4, 3)[:, 0, 1, 2] = lend
        for _ in range(19):
            env.step(actions)
        lost.append(env.accounts.abandoned.sum(axis=0))
    assert lost[1][1] < 0.4 * lost[0][1]
    assert lost[1][0] > lost[0][0]
    np.testing.assert_array_equal(lost[0][2:], lost[1][2:])


def test_fairness_adds_up_to_what_it_came_to_and_service_is_what_was_missed() -> None:
    """Over a day: the equivalent of service levels times the steps; value and penalties of lost calls, and waiting."""
    env = make(4, task=WorkforceTask(max_steps=30, load=1.5, alpha=2.0))
    env.reset(3)
    rng, total, waited = np.random.default_rng(0), np.zeros((4, 4, 3)), np.zeros((4, 4))
    for _ in range(29):
        total += env.step(wildly(env, rng)).objectives[GROUP]
        assert env.tally is not None
        waited += env.tally.waited
    np.testing.assert_allclose(total[:, 0, 2], 29 * equivalent(env.accounts.service(), 2.0), rtol=1e-4)
    plan, accounts = env.plan, env.accounts
    missed = accounts.abandoned * (plan.value + plan.penalty) + waited * plan.waiting
    np.testing.assert_allclose(total[..., 0], -missed / env.money[:, None], rtol=1e-4)
    np.testing.assert_allclose(total[..., 1], -accounts.wages / env.money[:, None], rtol=1e-4)


def test_as_many_calls_come_as_the_centre_says() -> None:
    """On average over days, whose levels have the coefficient of variation asked for; and handling times their mean."""
    env = make(200, task=WorkforceTask(days=Days(common=0.2, own=0.1)))
    env.reset(1)
    future = env.future
    calls = future.came[:, :, -1]
    np.testing.assert_allclose(calls.mean(axis=0), [1000, 600, 240, 500], rtol=0.05)
    np.testing.assert_allclose(future.level.std(axis=0), np.sqrt(1.04 * 1.01 - 1), rtol=0.15)
    assert np.corrcoef(future.level[:, :2].T)[0, 1] == pytest.approx(0.04 / (1.04 * 1.01 - 1), abs=0.1)
    there = future.at < 1e6
    mean = np.where(there, future.work, 0).sum(axis=(0, 2)) / there.sum(axis=(0, 2))
    np.testing.assert_allclose(mean, env.plan.handling[0], rtol=0.01)
    assert (np.diff(future.at, axis=2) >= 0).all()


def test_recorded_days_are_played(tmp_path: Path) -> None:
    """A day's level is one of the record's, as a share of its mean, and the prior has the record's spread."""
    file = tmp_path / "days.csv"
    rows = [f"2026-11-0{day},calls,{number}" for day, number in enumerate((80, 100, 120), 1)]
    file.write_text("\n".join(["date,series,quantity", *rows]) + "\n")
    days = Days(recorded=Recorded(file=file, series="calls"))
    env = make(60, task=WorkforceTask(days=days))
    env.reset(0)
    assert set(np.round(env.future.level[:, 0], 6)) == {0.8, 1.0, 1.2}
    assert env.outlook().spread[0, 0] == pytest.approx(np.std([0.8, 1, 1.2]), rel=0.02)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"centre": "none"}, r"centre: got 'none', allowed are bank"),
        ({"skills": 9}, r"skills: got 9, allowed is at most the centre's, 4"),
        ({"max_steps": 99}, r"max_steps: got 99, allowed is at most the day's, 48"),
    ],
)
def test_what_is_not_there_is_named(task: dict[str, Any], said: str) -> None:
    """One line with the key."""
    with pytest.raises(ValueError, match=said):
        make(task=WorkforceTask(**task))
