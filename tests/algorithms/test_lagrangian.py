"""Tests of the multipliers by themselves: against the algorithm as published, and against duals known by hand."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.constraints import MULTIPLIER
from algorithms.lagrangian import Multipliers, MultiplierSettings


def make(limits=None, **changes):
    plain = {**MULTIPLIER, "proportional": 0.0, "smoothing": 0.0, "exam_memory": 0.0}
    made = Multipliers(limits or {"late": 2.0}, MultiplierSettings.model_validate({**plain, **changes}))
    made.measure(1.0, np.ones(len(made.names)))
    return made


@given(
    costs=st.lists(st.floats(0, 10), min_size=1, max_size=20),
    gains=st.tuples(st.floats(0.01, 1), st.floats(0, 2), st.floats(0, 2)),
)
def test_it_is_the_published_controller(costs, gains):
    """Without smoothing and caps it is algorithm 2 of Stooke, Achiam and Abbeel, in the units of their errors."""
    limit, (k_i, k_p, k_d) = 2.0, gains
    found = make(integral=k_i, proportional=k_p, derivative=k_d, most=1e9)
    integral, last = 0.0, None
    for cost in costs:
        found.update(np.array([cost]))
        delta = (cost - limit) / limit
        rise = 0.0 if last is None else max((cost - last) / limit, 0.0)
        integral = max(integral + delta, 0.0)
        assert found.values[0] == pytest.approx(max(k_p * delta + k_i * integral + k_d * rise, 0.0), abs=1e-9)
        last = cost


@settings(max_examples=8, deadline=None)
@given(limit=st.floats(0.05, 0.9), proportional=st.sampled_from([0.0, 0.3]), first=st.sampled_from([0.0, 3.0]))
def test_it_finds_the_dual_of_a_problem_known_by_hand(limit, proportional, first):
    """The best for `a - lambda a^2` is `a = 1 / (2 lambda)`: cost and multiplier end at the limit and its dual."""
    found = make({"square": limit}, integral=0.1, proportional=proportional, smoothing=0.5, first=first)
    for _ in range(1500):
        found.update(np.array([min(1.0, 0.5 / max(found.values[0], 1e-9)) ** 2]))
    assert found.values[0] == pytest.approx(1 / (2 * sqrt(limit)), rel=1e-3)
    assert found.costs[0] == pytest.approx(limit, rel=2e-3)


@given(costs=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=30))
def test_multipliers_stay_within_bounds(costs):
    """Whatever costs do, multipliers are in [0, most]."""
    found = make({"late": 2.0, "lost": 0.5}, proportional=0.5, derivative=1.0, smoothing=0.5, most=3.0)
    for pair in costs:
        found.update(np.array(pair))
        assert (found.values >= 0).all()
        assert (found.values <= 3.0).all()


def test_multipliers_do_not_wind_up():
    """However long a cost was far above its limit, its multiplier falls in the first iteration below."""
    capped = make(most=3.0)
    for _ in range(100):
        capped.update(np.array([1e4]))
    assert capped.values[0] == 3.0
    capped.update(np.array([0.0]))
    assert capped.values[0] < 3.0


def test_a_limit_that_is_kept_anyway_costs_nothing():
    """Below its limit a cost has the multiplier 0, also after a while above."""
    found = make()
    for cost in (3.0, *[1.0] * 50):
        found.update(np.array([cost]))
    assert found.values[0] == 0.0


def test_advantages_of_the_lagrangian():
    """They are `(A - sum lambda_c A_c) / (1 + sum lambda_c)`, and to the bit the rewards' own where all are 0."""
    rng = np.random.default_rng(0)
    rewards, late, lost = rng.normal(size=(3, 9)).astype(np.float32)
    found = make({"late": 1.0, "lost": 1.0})
    np.testing.assert_array_equal(found.penalised(rewards, {"late": late, "lost": lost}), rewards)
    found.values = np.array([0.5, 2.0])
    expected = (rewards - 0.5 * late - 2.0 * lost) / 3.5
    np.testing.assert_allclose(found.penalised(rewards, {"lost": lost, "late": late}), expected, rtol=1e-6)


def test_it_is_the_policy_without_exploration_that_is_held_to_the_limit():
    """Sampled episodes that cost 1 more than the policy itself leave the multiplier alone when that is at its limit."""
    found = make()
    found.examine(np.array([5.0]), np.array([4.0]))
    for _ in range(5):
        found.update(np.array([3.0]))
    assert found.values[0] == 0.0
    assert found.costs[0] == 2.0
    assert found.figures() == {"multiplier": {"late": 0.0}, "cost": {"late": 2.0}, "cost_sampled": {"late": 3.0}}


def test_exams_are_averaged():
    """The first counts in full; then earlier ones weigh what `exam_memory` says, without a bias towards 0."""
    found = make(exam_memory=0.75)
    gaps = (1.0, 3.0, -2.0)
    for gap in gaps:
        found.examine(np.array([1.0]), np.array([1.0 + gap]))
    weights = 0.75 ** np.array([2, 1, 0])
    assert found.gap[0] == pytest.approx((weights * gaps).sum() / weights.sum())


@given(costs=st.lists(st.floats(0, 9), min_size=2, max_size=12), data=st.data())
def test_a_restored_one_goes_on_to_the_bit(costs, data):
    """Saved at any time, also through JSON, and restored: the rest of the course is the same."""
    at = data.draw(st.integers(0, len(costs)))
    changes = {"proportional": 0.3, "derivative": 0.2, "smoothing": 0.6, "exam_memory": 0.5}
    first, second = make(**changes), make(**changes)
    for number, cost in enumerate(costs):
        if number == at:
            second.set_state(json.loads(json.dumps(first.get_state())))
        for each in (first, second) if number >= at else (first,):
            each.examine(np.array([cost]), np.array([cost + 1]))
            each.update(np.array([cost]))
    if at < len(costs):
        assert first.get_state() == second.get_state()


def test_a_run_may_be_resumed_with_other_limits():
    """What a known limit's multiplier had come to is kept; one that is new begins at the first."""
    old, new = make(), make({"lost": 1.0, "late": 2.0}, first=0.7)
    old.update(np.array([8.0]))
    new.set_state(old.get_state())
    np.testing.assert_allclose(new.values, [0.7, old.values[0]])


def test_another_task_is_judged_by_its_own_costs():
    """What was measured is forgotten, and the multipliers are kept."""
    found = make()
    found.examine(np.array([1.0]), np.array([9.0]))
    found.update(np.array([4.0]))
    before = found.values.copy()
    found.forget()
    assert found.figures() == {"multiplier": {"late": before[0]}}
    assert found.gap[0] == 0.0
    found.update(np.array([2.0]))
    assert found.values[0] == pytest.approx(before[0])


def test_gains_mean_the_same_whatever_is_counted_in_cents():
    """With rewards and costs in other units, limits included, multipliers are those times the units' ratio."""
    plain, cents = make(proportional=0.3, first=0.5), make({"late": 2.0 * 7}, proportional=0.3, first=0.5)
    cents._measured[:] = 0.0
    cents.measure(100.0, np.array([7.0]))
    for cost in (3.0, 2.5, 1.0, 4.0):
        plain.update(np.array([cost]))
        cents.update(np.array([cost * 7]))
        assert cents.values[0] == pytest.approx(plain.values[0] * 100 / 7)
        assert plain.values[0] > 0


def test_a_cost_that_never_varied_has_no_multiplier():
    """Nobody knows yet what it weighs; that is found when it varies first, and from then on is a running mean."""
    found = Multipliers({"late": 1.0}, MultiplierSettings.model_validate({**MULTIPLIER, "first": 0.5}))
    found.measure(2.0, np.array([0.0]))
    found.update(np.array([9.0]))
    assert found.values[0] == 0.0
    found.measure(2.0, np.array([4.0]))
    assert (found.units[0], found.values[0]) == (0.5, 0.25)
    found.measure(2.0, np.array([1.0]))
    assert found.units[0] == pytest.approx((0.9 * 0.5 + 2.0) / 1.9)
