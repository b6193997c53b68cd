"""What is shown: plain lines where there is no terminal, a panel where there is one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from rllib_configs.overrides import load
from tune import figures
from tune.events import Event, EventKind
from tune.progress import Display, TimeLeft, duration, stage_of, steps

STOP = load("cue", overrides=["stop.iterations=10"]).stop


def row(iteration: int, **more: Any) -> dict[str, Any]:
    """Figures of an iteration."""
    return {
        figures.ITERATION: iteration,
        figures.SECONDS: 6.0 * iteration,
        figures.AGENT_STEPS: 1000 * iteration,
        **more,
    }


def progress(iteration: int, **more: Any) -> Event:
    """An iteration's event."""
    return Event(EventKind.PROGRESS, "mine", "t", row(iteration, **more))


def stage(index: int) -> dict[str, Any]:
    """Figures of a curriculum."""
    return {figures.STAGE: index, figures.STAGES: 5, figures.STAGE_NAME: ["basic", "multi"][index]}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (-1, "0 s")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """Seconds, minutes and hours."""
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(950, "950"), (12_345, "12.3k"), (4_560_000, "4.56M"), (2e9, "2G")])
def test_counts_read_well(count: float, text: str) -> None:
    """Three figures and a suffix."""
    assert steps(count) == text


def test_gradient_steps_that_were_left_out_are_told_once() -> None:
    """A line says in which iteration there were some, and how many; the count that is carried on is not told again."""
    out = io.StringIO()
    with Display("mine", STOP, Console(file=out, width=200)) as display:
        for iteration, skipped in ((1, 0), (2, 3), (3, 3), (4, 8)):
            display(progress(iteration, **{figures.SKIPPED: skipped}))
    told = [line for line in out.getvalue().splitlines() if "not finite" in line]
    assert [line.partition(" and are")[0] for line in told] == [
        "iteration 2: 3 gradient steps were not finite",
        "iteration 4: 5 gradient steps were not finite",
    ]


def test_time_left_follows_the_pace_since_this_process_began() -> None:
    """After 2 of 10 iterations in 20 seconds, 80 are left, though the run began in another process."""
    left = TimeLeft(STOP)
    assert left(row(4), now=100.0) is None
    assert left(row(6), now=120.0) == pytest.approx(40.0)


def test_lines_tell_stages_evaluations_and_the_end() -> None:
    """Without a terminal there are lines: the first, each evaluation, each change of stage, and the end."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    with Display("mine", STOP, console) as display:
        display(progress(1, **stage(0)))
        display(progress(2, **stage(0)))
        display(progress(3, **stage(0), **{figures.EVAL: 0.25, figures.BEST: 0.25, figures.EVAL_ITERATION: 3}))
        display(progress(10, **stage(1), **{figures.EVAL: 0.25, figures.BEST: 0.25, figures.EVAL_ITERATION: 3}))
        display(Event(EventKind.TRAINED, "mine", "t"))
    lines = text.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "iteration 1",
        "iteration 3",
        "stage 1/5 basic → 2/5 multi after 1 min 00 s (score 0.250)",
        "done",
    ]
    assert "score 0.250 (best 0.250)" in lines[1]
    assert "\x1b" not in text.getvalue()


def test_a_terminal_gets_a_panel_that_goes_away() -> None:
    """On a terminal the panel shows stage, score, pace and time left, and only lasting lines stay."""
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    display = Display("mine", STOP, console)
    display._live = object()  # type: ignore[assignment]  # as if live: no plain lines
    display(progress(1, **stage(0)))
    display(progress(2, **stage(0), **{figures.RATE: 12_300.0, figures.EVAL: 0.5, figures.BEST: 0.6}))
    console.print(display)
    shown = text.getvalue()
    for part in ("mine: training, iteration 2", "1/5 basic", "0.500 (best 0.600)", "12.3k/s"):
        assert part in shown


def test_a_score_before_any_trained_evaluation_has_no_best() -> None:
    """The untrained policy's score is shown, but is nobody's best."""
    text = io.StringIO()
    display = Display("mine", STOP, Console(file=text, width=200))
    display(progress(1, **{figures.EVAL: 0.1, figures.EVAL_ITERATION: 0}))
    assert "score 0.100\n" in text.getvalue()


def test_trials_of_a_sweep_are_ranked() -> None:
    """The panel of a sweep lists the best trial first and counts those that are done."""
    text = io.StringIO()
    console = Console(file=text, width=120)
    display = Display("mine", STOP, console, trials=3)
    for name, best in (("a", 0.1), ("b", 0.9)):
        display(Event(EventKind.PROGRESS, "mine", name, row(1, **{figures.EVAL: best, figures.BEST: best})))
    display(Event(EventKind.TRAINED, "mine", "a"))
    text.truncate(0)
    console.print(display)
    shown = text.getvalue()
    assert "1 running, 1 of 3 done" in shown
    assert shown.index(" b ") < shown.index(" a ")


def test_no_curriculum_no_stage() -> None:
    """A run without stages shows none."""
    assert stage_of(row(1)) == ""
