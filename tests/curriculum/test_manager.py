"""The state machine between stages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curriculum.config import Curriculum, Stage
from curriculum.manager import Change, CurriculumManager
from envs.cue import CueTask


def make(num_stages: int = 3, **changes: object) -> Curriculum:
    stages = tuple(
        Stage(
            name=f"stage_{number}",
            title=f"Stage {number}",
            task=CueTask(),
            promote_at=0.5,
            regress_below=-0.5,
            min_episodes=20,
        )
        for number in range(num_stages)
    )
    return Curriculum.model_validate({"domain": "cue", "stages": stages, "window": 50, **changes})


def noisy(mean: float, count: int, seed: int = 0) -> np.ndarray:
    """Scores whose sample mean is exactly `mean`, spread 0.1."""
    noise = np.random.default_rng(seed).normal(0, 0.1, count)
    return mean + noise - noise.mean()


histories = st.lists(st.lists(st.floats(-3, 3), max_size=30), max_size=40)


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(0, 100), st.floats(1, 3))
def test_moves_are_single_steps_with_enough_episodes(history: list[list[float]], patience: int, setback: float) -> None:
    """Whatever the scores, a stage is never skipped, and every move had at least `min_episodes` behind it."""
    manager = CurriculumManager(make(patience=patience, setback=setback))
    entered = 0
    for scores in history:
        stage = manager.stage
        events = manager.record(scores)
        moves = [event for event in events if event.change in (Change.PROMOTED, Change.REGRESSED)]
        assert len(moves) <= 1
        assert manager.stage - stage == sum(1 if e.change is Change.PROMOTED else -1 for e in moves)
        if moves:
            assert manager.total_episodes - entered >= 20
            entered = manager.total_episodes
            assert moves[0].to == manager.stage


@settings(max_examples=60, deadline=None)
@given(histories, histories)
def test_restored_manager_replays_identically(before: list[list[float]], after: list[list[float]]) -> None:
    """A manager restored from JSON goes on exactly as the one that was saved."""
    curriculum = make(patience=30)
    original, restored = CurriculumManager(curriculum), CurriculumManager(curriculum)
    for scores in before:
        original.record(scores)
    restored.set_state(json.loads(json.dumps(original.get_state())))
    for scores in after:
        assert original.record(scores) == restored.record(scores)
    assert original.get_state() == restored.get_state()


@settings(max_examples=60, deadline=None)
@given(histories, st.floats(0, 2))
def test_better_scores_never_promote_later(history: list[list[float]], gain: float) -> None:
    """Raising every score by the same amount cannot delay the first promotion."""

    def first_promotion(shift: float) -> float:
        manager = CurriculumManager(make(2))
        for number, scores in enumerate(history):
            if manager.record(np.array(scores) + shift):
                return number
        return np.inf

    assert first_promotion(gain) <= first_promotion(0.0)


def test_promotion_waits_for_the_lower_bound() -> None:
    """A mean above the bar is not enough while its Student-t lower bound is below; scipy's interval is the judge."""
    for mean, promoted in ((0.51, False), (0.53, True)):
        scores = noisy(mean, 25)
        low = stats.ttest_1samp(scores, 0).confidence_interval(0.8).low  # two-sided 0.8 is one-sided 0.9
        assert (low >= 0.5) == promoted
        manager = CurriculumManager(make())
        events = manager.record(scores)
        assert [event.change for event in events] == ([Change.PROMOTED] if promoted else [])
        if not promoted:
            assert manager.standing().low == pytest.approx(low)


def test_min_episodes_are_counted_over_calls() -> None:
    """Perfect scores promote at the twentieth episode and not before."""
    manager = CurriculumManager(make())
    for _ in range(19):
        assert manager.record([1.0]) == []
    assert [event.change for event in manager.record([1.0])] == [Change.PROMOTED]
    assert manager.standing().episodes == 0


def test_only_the_window_counts() -> None:
    """A bad start is forgotten once the window is full of good episodes."""
    manager = CurriculumManager(make())
    manager.record(noisy(-1, 500))
    assert manager.stage == 0
    manager.record(noisy(0.6, 50))
    assert manager.stage == 1


def test_hysteresis_and_regression() -> None:
    """Between floor and bar nothing moves; below the floor one falls back; the first stage has nowhere to fall."""
    manager = CurriculumManager(make())
    manager.record(noisy(-2, 40))
    assert manager.stage == 0
    manager.record(noisy(1, 50))
    for seed in range(20):
        assert manager.record(noisy(0.2, 25, seed)) == []
    assert manager.stage == 1
    assert [event.change for event in manager.record(noisy(-1, 50))] == [Change.REGRESSED]
    assert manager.stage == 0


def test_setback_asks_for_more_episodes_each_time() -> None:
    """Whoever fell back needs twice, then four times the episodes, at most sixteen times."""
    manager = CurriculumManager(make(setback=2.0))
    needed = []
    for _ in range(6):
        needed.append(manager.standing().needed)
        while manager.stage == 0:
            manager.record([1.0])
        manager.record(noisy(-1, 50))
    assert needed == [20, 40, 80, 160, 320, 320]


def test_patience_lowers_the_bar_on_a_plateau_only() -> None:
    """Flat scores lower the bar by a tenth each 100 episodes down to half; rising ones leave it alone."""
    curriculum = make(patience=100, relax=0.1, relax_limit=0.5, window=100)
    flat = CurriculumManager(curriculum)
    bars = []
    for _ in range(8):
        flat.record(np.tile([0.15, 0.25], 50))
        bars.append(flat.bar)
    assert bars == pytest.approx([0.45, 0.40, 0.35, 0.30, 0.25, 0.25, 0.25, 0.25])
    assert [event.change for event in flat.events] == [Change.RELAXED] * 5
    rising = CurriculumManager(curriculum)
    for start in range(8):
        rising.record(np.linspace(start, start + 1, 100) / 40)
    assert rising.bar == 0.5
    assert rising.stage == 0


def test_the_last_stage_is_mastered_once() -> None:
    """Reaching the last bar is one event, and training goes on there."""
    manager = CurriculumManager(make(1))
    for _ in range(5):
        manager.record(noisy(1, 30))
    assert [event.change for event in manager.events] == [Change.MASTERED]
    assert (manager.stage, manager.mastered) == (0, True)


def test_trend_is_the_least_squares_line() -> None:
    """Slope and one-sided confidence agree with scipy's regression."""
    scores = np.random.default_rng(3).normal(size=50) + 0.01 * np.arange(50)
    manager = CurriculumManager(make(1))
    manager.record(scores)
    line = stats.linregress(np.arange(50), scores, alternative="greater")
    assert manager.trend().slope == pytest.approx(1000 * line.slope)
    assert manager.trend().rising == pytest.approx(1 - line.pvalue)


@pytest.mark.parametrize("worlds", [1, 7, 10, 64, 100])
@pytest.mark.parametrize("rehearsal", [0.0, 0.1, 0.5, 1.0, 3.0])
def test_rehearsal_spreads_earlier_stages_over_the_worlds(worlds: int, rehearsal: float) -> None:
    """Each earlier stage gets `rehearsal` worlds for one of the current stage, in every stretch of worlds alike."""
    manager = CurriculumManager(make(rehearsal=rehearsal))
    assert {task.name for task in manager.tasks(worlds)} == {"stage_0"}
    manager.stage = 2
    names = [task.name for task in manager.tasks(worlds)]
    assert len(names) == worlds
    assert names[0] == "stage_2"
    for name, weight in (("stage_0", rehearsal), ("stage_1", rehearsal), ("stage_2", 1.0)):
        share = weight / (1 + 2 * rehearsal)
        for half in (names[: worlds // 2], names[worlds // 2 :]):
            assert abs(half.count(name) - share * len(half)) < 2
        assert weight > 0 or name not in names


def test_bad_scores_and_foreign_states_are_refused() -> None:
    """NaN scores and the state of a curriculum with other stages raise errors that say so."""
    manager = CurriculumManager(make())
    with pytest.raises(ValueError, match="scores: got nan, allowed are finite numbers"):
        manager.record([0.1, float("nan")])
    assert manager.total_episodes == 0
    with pytest.raises(ValueError, match="allowed are this run's"):
        manager.set_state(CurriculumManager(make(2)).get_state())
