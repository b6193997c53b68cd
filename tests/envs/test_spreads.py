"""Tests of tasks that are distributions: drawn from the level's seed, whoever plays it, and scored as a whole."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curriculum.config import Curriculum
from curriculum.files import parse_typed
from envs.contract import check_env
from envs.cue import CueConfig, CueEnv, CueTask
from envs.registry import get_domain
from envs.sampling import random_actions
from envs.spreads import Spread
from policies.base import RandomPolicy
from policies.heuristics.cue import RepeatCue
from policies.rollout import play
from policies.score import measure_reference

DRAWN = CueTask(max_steps=6, drawn=(Spread(field="max_steps", low=3, high=9), Spread(field="entities", values=(1, 3))))


@given(low=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3), seed=st.integers(0, 999))
def test_what_is_drawn_is_within_its_range(low: float, width: float, seed: int) -> None:
    """Numbers lie between the ends, whole ones are whole, and of values one is taken."""
    rng = np.random.default_rng(seed)
    assert low <= Spread(field="x", low=low, high=low + width).draw(rng, whole=False) <= low + width
    first, last = int(low), int(low) + 1 + int(width)
    whole = Spread(field="x", low=first, high=last).draw(rng, whole=True)
    assert type(whole) is int
    assert first <= whole <= last
    assert Spread(field="x", values=("a", "b")).draw(rng, whole=False) in ("a", "b")


def test_draws_are_as_likely_as_they_should_be() -> None:
    """Uniform over whole numbers, ends included; with `log`, uniform over orders of magnitude."""
    rng = np.random.default_rng(0)
    dice = [Spread(field="x", low=1, high=6).draw(rng, whole=True) for _ in range(6000)]
    np.testing.assert_allclose(np.bincount(dice)[1:], 1000, atol=5 * np.sqrt(6000 * 5 / 36))
    wide = [Spread(field="x", low=0.01, high=100, log=True).draw(rng, whole=False) for _ in range(4000)]
    assert np.mean(np.array(wide) < 1) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"field": "size", "low": 1, "high": 2}, "drawn: got the field 'size', allowed are max_steps, entities"),
        ({"field": "name", "values": ["a"]}, "drawn: got the field 'name'"),
        ({"field": "entities", "low": 0, "high": 2}, "entities"),
        ({"field": "entities", "low": 2, "high": 2}, "low: got 2, allowed is below high"),
        ({"field": "entities", "low": 1}, "allowed is either low and high, or values"),
        ({"field": "entities", "low": 0, "high": 2, "log": True}, "allowed with log is above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields: dict[str, Any], said: str) -> None:
    """Unknown fields, ranges that are none, and values the task does not allow."""
    with pytest.raises(ValidationError, match=said):
        CueTask.model_validate({"drawn": [fields]})


def test_an_env_that_cannot_hold_all_of_it_refuses() -> None:
    """The largest task that can be drawn must fit."""
    with pytest.raises(ValueError, match=r"^entities: got 3, allowed is at most 2"):
        CueEnv(CueConfig(num_entities=2), 1, task=DRAWN)


def test_it_keeps_the_contract() -> None:
    """A world's task is drawn from its own level, in a batch as alone, and from a restored state."""
    check_env(lambda b, k: get_domain("cue").env({}, b, task=DRAWN, first_world=k), worlds=4, steps=30)


def test_every_level_has_its_own_task_and_is_played_again() -> None:
    """The account of an episode holds the task as it was drawn; the level, replayed elsewhere, draws it again."""
    env = CueEnv(CueConfig(), 8, task=DRAWN)
    seen, rng, finals = env.reset(3), np.random.default_rng(0), []
    for _ in range(30):
        step = env.step(random_actions(env.groups, seen, rng))
        seen = step.observation
        finals += [] if step.final is None else list(zip(step.final.tasks, step.final.levels, strict=True))
    assert len({task.model_dump_json() for task, _ in finals}) > 5
    assert {task.entities for task, _ in finals} == {1, 3}
    other = CueEnv(CueConfig(), 1, task=DRAWN)
    for task, level in finals[:6]:
        assert not task.drawn
        other.reset(0)
        other.replay([level], [0])
        other.restart([0])
        assert other.tasks[0] == task


def test_it_is_written_and_read_as_plain_values() -> None:
    """In YAML a stage's task may say what is drawn; tasks of which nothing is drawn are written as before."""
    assert "drawn" not in CueTask().model_dump()
    assert CueTask.model_validate(json.loads(DRAWN.model_dump_json())) == DRAWN
    stage = {
        "name": "any",
        "title": "Any",
        "task": {"drawn": [{"field": "entities", "values": [1, 2]}]},
        "promote_at": 0.5,
    }
    curriculum = parse_typed({"domain": "cue", "stages": [stage]}, Curriculum, "here")
    assert curriculum.stages[0].task.drawn == (Spread(field="entities", values=(1, 2)),)


def test_its_score_is_a_ratio_of_means() -> None:
    """Levels of any length count as they are: the mean score is (mean - naive) / (informed - naive) of mean returns."""
    env = CueEnv(CueConfig(), 64)
    reference = measure_reference(env, DRAWN, RandomPolicy(), RepeatCue(), seed=1)
    lengths = play(env, RepeatCue(), DRAWN, seed=1)
    assert set(lengths.lengths) == set(range(3, 10))
    assert reference.informed == pytest.approx(lengths.lengths.mean())
    assert reference.score(lengths.returns).mean() == pytest.approx(1)
