"""Tests of the hindsight bound: a day small enough to solve by hand, residual lives, and that nobody exceeds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import lognorm

from curriculum.config import load_curriculum
from envs.resource_allocation.workforce import WorkforceConfig, WorkforceEnv, WorkforceTask, load_centre
from envs.resource_allocation.workforce.plan import Plan, Size
from policies.heuristics.workforce import RULES
from policies.heuristics.workforce.hindsight import day_of, hindsight, residual_of
from policies.heuristics.workforce.program import Day, least_cost
from policies.rollout import play

ONE: dict[str, Any] = {
    "name": "one",
    "step": 60,
    "profiles": {"flat": [1, 1]},
    "skills": {
        "calls": {"calls": 40, "profile": "flat", "handling": {"mean": 6}, "patience": 5, "value": 7, "penalty": 3}
    },
    "teams": {
        "calls": {"shifts": [{"start": 0, "length": 2, "workers": 2}], "wage": 20, "on_call": 3, "lead": 1, "stay": 1}
    },
}


def a_day(first: int, second: int, **changes: Any) -> Day:
    """So many calls in each of two hours, nobody of whom waits for the next."""
    centre = load_centre(ONE)
    plan = Plan.of(centre, Size.of([centre]))
    waits = np.zeros((1, 2, 3), np.int64)
    waits[0, :, 0] = first, second
    day: dict[str, Any] = {
        "plan": plan,
        "steps": 2,
        "waits": waits,
        "gave_up": waits[:, :, 0],
        "staffed": plan.shift,
        "residual": np.zeros(1),
        "prompt": np.zeros(1),
        "wages": 1.0,
    }
    return Day(**day | changes)


def test_a_day_solved_by_hand() -> None:
    """Ten calls an hour a worker, worth 10 each where a worker costs 20: all but what is beyond is decided by that."""
    assert least_cost(a_day(20, 20)) == pytest.approx(80)  # as planned
    assert least_cost(a_day(20, 10)) == pytest.approx(60)  # one goes home
    assert least_cost(a_day(10, 20)) == pytest.approx(40 + 30)  # one goes home, and another is called in for him
    assert least_cost(a_day(20, 30)) == pytest.approx(80 + 30)  # one is called in, at a premium of a half
    assert least_cost(a_day(25, 20)) == pytest.approx(80 + 50)  # too late for the first hour: five are lost
    assert least_cost(a_day(20, 60)) == pytest.approx(80 + 90 + 100)  # three are called in, ten calls are lost
    # Calls in progress for 15 minutes more: five are ended in the second hour, in which 120 minutes are to be worked.
    # One and a half workers do 90 of them, half a worker who has left 7.5, and 22.5 are left when the day is over.
    assert least_cost(a_day(25, 15, residual=np.full(1, 15.0))) == pytest.approx(70)
    assert least_cost(a_day(20, 20, prompt=np.full(1, 0.5))) == pytest.approx(80 - 40 * 0.5)


def test_calls_are_counted_by_how_long_they_wait() -> None:
    """Of those who come in a step, each later step can answer who has not given up by then."""
    env = WorkforceEnv(WorkforceConfig(), 2, task=WorkforceTask())
    env.reset(0)
    day, came = day_of(env, 1), env.future.came[1]
    np.testing.assert_array_equal(day.waits[:, :, 0], np.diff(came))
    assert (np.diff(day.waits, axis=2) <= 0).all()
    # Of a call that comes at any time of a step, the chance to wait for the next is (1 - exp(-theta d)) / (theta d).
    for skill in range(4):
        patience = env.plan.patience[0, skill]
        expected = patience / 15 * (1 - np.exp(-15 / patience))
        assert day.waits[skill, :, 1].sum() / day.waits[skill, :, 0].sum() == pytest.approx(expected, abs=0.08)
    assert (day.gave_up <= day.waits[:, :, 0]).all()


def test_residual_lives_are_integrals() -> None:
    """Exponential: the mean, whatever the age; lognormal: at least what it is at any age, cut off at ten means."""
    centre = load_centre("bank")
    plan = Plan.of(centre, Size.of([centre]))
    found = residual_of(plan)
    assert found[0] == plan.handling[0]
    s = np.sqrt(np.log(2.0))
    law = lognorm(s, scale=np.exp(-(s**2) / 2))
    mean = quad(law.sf, 0, 10)[0]
    residuals = [quad(law.sf, age, 10)[0] / law.sf(age) for age in np.linspace(0, 9, 46)]
    assert found[1] == pytest.approx(5 * max(residuals) / mean, rel=5e-3)


@pytest.mark.parametrize("stage", load_curriculum("workforce").stages, ids=lambda stage: stage.name)
def test_nobody_exceeds_it(stage: Any) -> None:
    """Not even who is told how busy the day is, in any of its days."""
    env = WorkforceEnv(WorkforceConfig(), 2, task=stage.task)
    env.reset(4)
    most = hindsight(env, range(2))
    for name in ("erlang", "oracle"):
        assert (play(env, RULES[name](), stage.task, seed=4).returns < most).all()
