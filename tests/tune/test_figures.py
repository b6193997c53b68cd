"""When training ends, what counts as better, and how far a run has come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_configs.overrides import load
from rllib_configs.schema import Stop
from tune import figures
from tune.figures import Best, evaluated, pick, reason_to_stop, share_done


def stop(**bounds: object) -> Stop:
    """Bounds, those not given absent."""
    absent = dict.fromkeys(("agent_steps", "episodes", "iterations", "minutes", "patience"))
    return Stop.model_validate({**absent, "curriculum_done": False, "improvement": 0.0, **bounds})


@pytest.mark.parametrize(
    ("bounds", "row", "reason"),
    [
        ({"iterations": 5}, {figures.ITERATION: 4}, None),
        ({"iterations": 5}, {figures.ITERATION: 5}, "5 iterations"),
        ({"agent_steps": 1000}, {figures.AGENT_STEPS: 1024.0}, "1,000 agent-steps"),
        ({"episodes": 10}, {figures.EPISODES: 10}, "10 episodes"),
        ({"minutes": 2.0}, {figures.SECONDS: 119.0}, None),
        ({"minutes": 2.0}, {figures.SECONDS: 120.0}, "2 minutes"),
        ({"iterations": 9, "curriculum_done": True}, {figures.CURRICULUM_DONE: True}, "the curriculum is passed"),
        ({"iterations": 9}, {figures.CURRICULUM_DONE: True}, None),
        ({"iterations": 9, "patience": 50}, {figures.SINCE_BEST: 49}, None),
        ({"iterations": 9, "patience": 50}, {figures.SINCE_BEST: 50}, "no better score for 50 episodes"),
    ],
)
def test_training_ends_at_the_first_bound(
    bounds: dict[str, object], row: dict[str, object], reason: str | None
) -> None:
    """Each bound ends training when it is reached, not before, and says so."""
    assert reason_to_stop(row, stop(**bounds)) == reason


def test_the_nearest_bound_says_how_far_a_run_is() -> None:
    """Half of the time and a tenth of the iterations is half of the run."""
    row = {figures.ITERATION: 10, figures.SECONDS: 30.0}
    assert share_done(row, stop(iterations=100, minutes=1.0)) == 0.5
    assert share_done({**row, figures.SECONDS: 90.0}, stop(iterations=100, minutes=1.0)) == 1.0


def test_patience_is_counted_from_the_last_clear_improvement() -> None:
    """A creep below `improvement` raises the best score but does not renew patience, until it adds up."""
    best = Best(improvement=0.1)
    assert best.record(0.50, 100)
    assert best.record(0.55, 200)
    assert (best.score, best.at_episode) == (0.55, 100)
    assert best.record(0.60, 300)
    assert best.at_episode == 300
    assert not best.record(0.59, 400)
    assert (best.score, best.at_episode) == (0.60, 300)


@given(st.lists(st.floats(-2, 2), min_size=1), st.floats(0, 0.5))
def test_the_best_is_the_maximum_and_survives_a_restore(scores: list[float], improvement: float) -> None:
    """Whatever comes, the best is the maximum; a restored copy goes on as the original would."""
    best, half = Best(improvement), Best(improvement)
    for episode, score in enumerate(scores):
        best.record(score, episode)
    for episode, score in enumerate(scores[: len(scores) // 2]):
        half.record(score, episode)
    copy = Best(improvement)
    copy.set_state(half.get_state())
    for episode, score in enumerate(scores[len(scores) // 2 :], start=len(scores) // 2):
        copy.record(score, episode)
    assert best.score == max(scores)
    assert copy == best


def test_only_flat_figures_are_picked_and_plain() -> None:
    """NumPy scalars become Python's, other keys are left out."""
    picked = pick(
        {figures.EVAL: np.float64(0.5), figures.ITERATION: np.int64(3), "learners": {"loss": 1}, "score": None}
    )
    assert picked == {figures.EVAL: 0.5, figures.ITERATION: 3}
    assert type(picked[figures.EVAL]) is float


def test_a_score_carried_forward_is_no_evaluation() -> None:
    """Only the iteration it was measured in counts."""
    assert evaluated({figures.EVAL: 0.1, figures.EVAL_ITERATION: 5, figures.ITERATION: 5})
    assert not evaluated({figures.EVAL: 0.1, figures.EVAL_ITERATION: 5, figures.ITERATION: 6})
    assert not evaluated({figures.ITERATION: 6})


def test_built_in_bounds_are_reached() -> None:
    """The configurations that come along end by themselves."""
    for domain in ("cue", "trading"):
        assert figures.limits(load(domain).stop)
