"""Tests of what is expected: windows against loops, tables against Erlang A, staff against the roster, and levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.resource_allocation.workforce import WorkforceConfig, WorkforceEnv, WorkforceTask
from envs.resource_allocation.workforce.config import Days
from envs.resource_allocation.workforce.env import GROUP
from envs.resource_allocation.workforce.erlang import erlang_a, erlang_b


@pytest.fixture(name="env", scope="module")
def _env() -> WorkforceEnv:
    """Two days, ten steps old."""
    env = WorkforceEnv(WorkforceConfig(), 2, task=WorkforceTask(days=Days(common=0.2), absence=0.2, fairness=0.0))
    env.reset(5)
    for _ in range(10):
        env.step({GROUP: np.full((2, 4, 12), -1.0, np.float32)})
    return env


def test_windows_are_means(env: WorkforceEnv) -> None:
    """Of the steps in which one called in now would be there, and no others."""
    outlook, plan = env.outlook(), env.plan
    called = outlook.called
    for skill in range(4):
        first = 10 + int(plan.lead[0, skill])
        there = slice(first, first + int(plan.stay[0, skill]))
        assert called.load[1, skill] == pytest.approx(outlook.load[1, skill, there].mean())
        assert called.staff[1, skill] == pytest.approx(outlook.staff[1, skill, there].mean())
    late = outlook.window(np.full((2, 4), 45), np.full((2, 4), 6))
    np.testing.assert_allclose(late.part, 0.5)
    np.testing.assert_allclose(late.load, outlook.load[:, :, 45:].mean(axis=2))


def test_who_is_to_come_is_expected_as_often_as_not(env: WorkforceEnv) -> None:
    """Of shifts that have begun those who came, of others all but a fifth; and the load is rate times handling time."""
    outlook, plan = env.outlook(), env.plan
    np.testing.assert_array_equal(outlook.staff[:, :, 10], env.staff.present(plan, env.now()).sum(axis=2))
    begun = plan.on_duty[0, 0, :, :11].any(axis=1)
    count = np.where(begun, env.staff.left[0, 0], 0.8 * plan.shift[0, 0])
    assert outlook.staff[0, 0, 30] == pytest.approx((count * plan.on_duty[0, 0, :, 30]).sum())
    assert outlook.load[0, 2, 20] == pytest.approx(plan.rate[0, 2, 20] / 15 * 10 * outlook.level[0, 2])


def test_tables_are_erlang_a(env: WorkforceEnv) -> None:
    """What nine servers bring where eight calls an handling time come, within what is lost between lines."""
    outlook = env.outlook(np.ones((2, 4)))
    worth = outlook.worth(np.full((2, 4), 5.0), np.full((2, 4), 7.0))
    for skill, (handling, patience, value, penalty, waiting) in enumerate(
        [(4, 4, 5, 5, 0.4), (5, 5, 7, 6, 0.4), (10, 8, 20, 12, 0.5), (6, 5, 7, 5, 0.4)]
    ):
        calls = 5.0 / handling
        found = erlang_a(calls, 1 / handling, 1 / patience, 7, erlang_b(5.0, 6)[-1])
        expected = calls * (value - (value + penalty) * found.abandons - waiting * found.wait)
        assert worth[0, skill] == pytest.approx(float(expected), rel=2e-3)
    assert (np.diff(outlook.worth(np.full((2, 4, 9), 5.0), np.arange(9.0) + 0 * worth[..., None]), axis=2) > 0).all()


def test_levels_are_what_orders_bring_staff_to(env: WorkforceEnv) -> None:
    """An action of 0 calls in up to the load, and sends home down to two roots above it, to the nearest worker."""
    outlook, actions = env.outlook(), np.full((2, 4, 4, 3), -1.0, np.float32)
    own = np.arange(4)
    actions[:, own, own] = 0.0
    orders = env.orders({GROUP: actions.reshape(2, 4, 12)})
    called, soon = outlook.called, outlook.soon
    limit: Any = env.staff.pool
    np.testing.assert_array_equal(orders.call, np.clip(np.floor(called.load - called.staff + 0.5), 0, limit))
    most = env.staff.present(env.plan, env.now()).sum(axis=2)
    spare = np.floor(soon.staff - soon.load - 2 * np.sqrt(np.maximum(soon.load, 1)) + 0.5)
    np.testing.assert_array_equal(orders.home, np.clip(spare, 0, most))
