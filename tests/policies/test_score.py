"""Tests of the score: 0 is the naive policy, 1 the informed one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.cue import CueConfig, CueEnv, CueTask
from policies.base import RandomPolicy
from policies.heuristics import baselines
from policies.heuristics.cue import RepeatCue
from policies.rollout import play
from policies.score import PairedReference, Reference, measure_pairs, measure_reference

NUMBERS = st.floats(-1e6, 1e6)


@given(naive=NUMBERS, gap=st.floats(1e-3, 1e6), share=st.floats(-3, 3))
def test_the_score_is_linear_between_its_marks(naive: float, gap: float, share: float) -> None:
    """Going a share of the way from naive to informed scores that share, below 0 and above 1 too."""
    reference = Reference(naive, naive + gap)
    returns = np.array([naive, reference.informed, naive + share * gap])
    np.testing.assert_allclose(reference.score(returns), [0, 1, share], atol=1e-9 + 1e-9 * abs(naive) / gap)


@pytest.mark.parametrize("informed", [2.0, 1.9, float("nan")])
def test_a_task_that_teaches_nothing_has_no_score(informed: float) -> None:
    """Where the informed policy does not beat the naive one, asking for a score is an error that says so."""
    with pytest.raises(ValueError, match=r"^score: informed .* does not beat naive 2$"):
        Reference(2.0, informed).score(np.zeros(1))


def test_references_are_the_policies_mean_returns() -> None:
    """Guessing one of four earns 1/4 a step on average, repeating 1; a half scores (1/2 - 1/4) / (3/4) = 1/3."""
    env = CueEnv(CueConfig(action_mode="discrete", num_agents=8), 64)
    task = CueTask(max_steps=20)
    reference = measure_reference(env, task, RandomPolicy(), RepeatCue(), seed=3)
    assert reference.informed == pytest.approx(20)
    assert reference.naive == pytest.approx(5, abs=0.15)  # deviation of the mean: sqrt(20 * 3/16 / 2 / 8 / 64) = 0.06
    assert reference.score(np.array([10.0]))[0] == pytest.approx(1 / 3, abs=0.01)


def test_the_reference_policies_score_zero_and_one_on_average() -> None:
    """Scored on the episodes they were measured on, the two marks score 0 and 1."""
    env, task = CueEnv(CueConfig(), 8), CueTask(max_steps=5)
    reference = measure_reference(env, task, RandomPolicy(), RepeatCue(), seed=4, episodes_per_world=2)
    for policy, mark in ((RandomPolicy(), 0.0), (RepeatCue(), 1.0)):
        returns = play(env, policy, task, seed=4, episodes_per_world=2).returns
        assert reference.score(returns).mean() == pytest.approx(mark, abs=1e-9)


def test_all_four_parts_of_a_reference() -> None:
    """Of the cue everything is known: who repeats it sees what the agents see, and earns the bound."""
    env, task = CueEnv(CueConfig(num_agents=3), 8), CueTask(max_steps=6, lifetimes=(2, 0, 9))
    sticks = baselines("cue")
    repeat = RepeatCue()
    found = measure_reference(env, task, RandomPolicy(), repeat, seed=4, attainable=repeat, bound=sticks.bound)
    assert found.bound == pytest.approx((2 + 6 + 6) / 3)
    assert found.informed == found.attainable == pytest.approx(found.bound)
    assert found.naive < found.informed
    plain = measure_reference(env, task, RandomPolicy(), repeat, seed=4)
    assert (plain.attainable, plain.bound) == (None, None)


def test_pairs_keep_the_mean_and_take_off_the_luck() -> None:
    """Scores in shared worlds average to the ratio of means, and spread less where references feel the same luck."""
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 10, 64)
    pairs = PairedReference(naive=luck - 5 + rng.normal(0, 0.1, 64), informed=luck + 5 + rng.normal(0, 0.1, 64))
    returns = luck + 2 + rng.normal(0, 0.1, 64)
    alone = Reference(pairs.naive.mean(), pairs.informed.mean()).score(returns)
    scores = pairs.score(returns)
    assert scores.mean() == pytest.approx(alone.mean(), abs=1e-12)
    assert scores.mean() == pytest.approx(0.7, abs=0.02)
    assert scores.std() < alone.std() / 20
    np.testing.assert_allclose(pairs.score(pairs.informed), 1.0, atol=1e-9)


def test_pairs_are_played_in_the_same_worlds() -> None:
    """Whoever plays an exam as the informed policy does gets 1 in each of its episodes."""
    env, sticks = CueEnv(CueConfig(), 8), baselines("cue")
    informed = sticks.policies[sticks.informed]()
    pairs = measure_pairs(env, CueTask(), sticks.policies[sticks.naive](), informed, seed=5)
    np.testing.assert_allclose(pairs.score(play(env, informed, CueTask(), seed=5).returns), 1.0, atol=1e-9)
