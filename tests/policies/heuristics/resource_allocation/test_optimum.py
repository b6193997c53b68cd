"""Tests of the fairest allocation: closed forms, a linear program, and that nobody's is fairer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
from envs.resource_allocation.fairness import equivalent
from policies.heuristics.resource_allocation import RULES
from policies.heuristics.resource_allocation.optimum import Fairest, Instance, fairest
from policies.rollout import play

WIDTHS = np.array([1.0, 2.0, 10.0, 20.0])


def one_resource(capacity: float) -> Instance:
    """Four tenants of one job each, whose tasks take 1 of one resource."""
    shape = (1, 4, 1)
    return Instance(
        WIDTHS[:, None], np.ones((4, 1)), np.ones(shape), np.ones(shape, np.bool_), np.full((1, 1), capacity)
    )


@pytest.mark.parametrize(
    ("alpha", "wanted"),
    [
        (0.0, [1.0, 2.0, 10.0, 0.0]),  # who wants least costs least
        (1.0, [1.0, 2.0, 5.0, 5.0]),  # all spend the same, as far as they can use it
        (50.0, WIDTHS * 13 / 33),  # all have the same share of what they could use
    ],
)
def test_of_one_resource_it_is_known(alpha: float, wanted: Any) -> None:
    """Water filling of what is spent, of what is left, or of service."""
    np.testing.assert_allclose(fairest(one_resource(13.0), alpha)[:, 0], wanted, atol=1e-4)


def test_harmonic_means_are_shared_by_the_root() -> None:
    """For alpha 2 a tenant's tasks grow with the root of what it could use: Lagrange's condition by hand."""
    got = fairest(one_resource(6.0), 2.0)[:, 0]
    assert got[0] == pytest.approx(6 * np.sqrt(1.0) / np.sqrt(WIDTHS).sum(), rel=1e-3)
    np.testing.assert_allclose(got / np.sqrt(WIDTHS), got[0], rtol=1e-3)


def test_without_aversion_it_is_a_linear_program() -> None:
    """The mean of service is what HiGHS finds, over machines that not all may use."""
    rng = np.random.default_rng(0)
    usable, value = rng.uniform(1, 9, (5, 2)), rng.uniform(1, 3, (5, 2))
    needs, allowed = rng.uniform(0, 1, (3, 5, 2)), rng.random((2, 5, 2)) < 0.7
    capacity = rng.uniform(1, 6, (2, 3))
    got = fairest(Instance(usable, value, needs, allowed, capacity), 0.0)
    wanted = (usable * value).sum(axis=1, keepdims=True)
    gain = np.broadcast_to((value / wanted)[None], allowed.shape)
    rows, limits = [], []
    for machine in range(2):
        for resource in range(3):
            row = np.zeros(allowed.shape)
            row[machine] = needs[resource]
            rows.append(row.ravel())
            limits.append(capacity[machine, resource])
    for job in np.ndindex(5, 2):
        row = np.zeros(allowed.shape)
        row[(slice(None), *job)] = 1
        rows.append(row.ravel())
        limits.append(usable[job])
    bounds = [(0, None if may else 0) for may in allowed.ravel()]
    best = linprog(-gain.ravel(), A_ub=np.array(rows), b_ub=limits, bounds=bounds)
    assert (got * value / wanted).sum() == pytest.approx(-best.fun, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 50.0])
def test_nobody_is_fairer(alpha: float) -> None:
    """On clusters that many services share, no rule's equivalent is larger in a step."""
    task = AllocationTask(max_steps=2, load=2.0, alpha=alpha, over="step", worth=0.0)
    env = AllocationEnv(AllocationConfig(clusters=("static",), slots=1), 12, task=task)
    best = play(env, Fairest(), task, seed=0).returns
    for name, make in RULES.items():
        assert (play(env, make(), task, seed=0).returns <= best * 1.01).all(), name
    service = env.accounts.service()
    assert (equivalent(service, alpha) <= 1 + 1e-9).all()
