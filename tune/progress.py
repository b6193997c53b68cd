"""Shows a run as it goes: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rllib_configs.schema import Stop
from tune import figures
from tune.events import Event, EventKind

LINE_EVERY = 10.0
"""Seconds between plain lines, besides those for stages, evaluations and ends."""


def duration(seconds: float) -> str:
    """Seconds as people say them: `48 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def steps(count: float) -> str:
    """A count in four characters or so: `950`, `12.3k`, `4.56M`."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{suffix}"
    return f"{count:.0f}"


def stage_of(row: Mapping[str, Any]) -> str:
    """The curriculum's stage in words, such as `2/5 multi_asset`; empty without a curriculum."""
    if figures.STAGE not in row:
        return ""
    return f"{int(row[figures.STAGE]) + 1}/{int(row[figures.STAGES])} {row.get(figures.STAGE_NAME, '')}".strip()


def stage_score_of(row: Mapping[str, Any]) -> str:
    """The stage's score and the score that promotes, such as `0.31 → 0.50`."""
    if figures.STAGE_SCORE not in row:
        return ""
    bar = f" → {row[figures.STAGE_BAR]:.2f}" if figures.STAGE_BAR in row else ""
    return f"{row[figures.STAGE_SCORE]:.2f}{bar}"


def score_of(row: Mapping[str, Any]) -> str:
    """The latest evaluation score and the best."""
    if figures.EVAL not in row:
        return "none yet"
    parts = [f"best {row[figures.BEST]:.3f}"] if figures.BEST in row else []
    if figures.EVAL_SAMPLED in row:
        parts += [f"sampled {row[figures.EVAL_SAMPLED]:.3f}", "mean returns"]
    return f"{row[figures.EVAL]:.3f}" + (f" ({', '.join(parts)})" if parts else "")


@dataclass
class TimeLeft:
    """Guesses the time left from how fast the nearest bound has come closer since this process began.

    Args:
        stop: The run's bounds.
    """

    stop: Stop
    _first: tuple[float, float] | None = field(default=None, repr=False)

    def __call__(self, row: Mapping[str, Any], now: float) -> float | None:
        """Seconds left, None as long as that cannot be known."""
        done = figures.share_done(row, self.stop)
        if self._first is None:
            self._first = (now, done)
            return None
        began, at_first = self._first
        gained = done - at_first
        return None if gained <= 0 else (1.0 - done) * (now - began) / gained


class Display:
    """Listens to an experiment and shows it.

    Args:
        name: Name of the experiment.
        stop: Bounds of a trial.
        console: Where to write; standard error if None, so that standard output stays for results.
        trials: Trials in all: one, or a sweep's samples.
    """

    def __init__(self, name: str, stop: Stop, console: Console | None = None, trials: int = 1) -> None:
        self.name, self.stop, self.trials = name, stop, trials
        self.console = console or Console(stderr=True)
        self._rows: dict[str, dict[str, Any]] = {}
        self._over: set[str] = set()
        self._left: dict[str, TimeLeft] = {}
        self._stages: dict[str, str] = {}
        self._last_line = -LINE_EVERY
        self._status = "starting Ray"
        self._live: Live | None = None

    def __enter__(self) -> Display:
        """Starts showing."""
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stops showing; a panel is taken away, lines stay."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def status(self, text: str) -> None:
        """Says what is being done now."""
        self._status = text
        if self._live is None:
            self.say(text)

    def __call__(self, event: Event) -> None:
        """Takes in what happened."""
        if event.kind is EventKind.PROGRESS:
            self._progress(event)
        elif event.kind is EventKind.RECOVERING:
            cause = event.figures.get("cause")
            why = f" ({cause})" if cause else ""
            self.say(f"{self._label(event.trial)}failed and is restarted from its last checkpoint{why}")
        elif event.kind is EventKind.TRAINED:
            self._over.add(event.trial)
            row = self._rows.get(event.trial, {})
            reason = figures.reason_to_stop(row, self.stop) or "stopped early"
            self._line(event.trial, row, f"done, {reason}: ")
        elif event.kind is EventKind.FINISHING:
            self.status(str(event.figures.get("status", "")))

    def _progress(self, event: Event) -> None:
        trial, row, now = event.trial, event.figures, time.monotonic()
        first = trial not in self._rows
        skipped = row.get(figures.SKIPPED, 0) - self._rows.get(trial, {}).get(figures.SKIPPED, 0)
        self._rows[trial] = row
        left = self._left.setdefault(trial, TimeLeft(self.stop))(row, now)
        row["time_left"] = left
        self._status = "training"
        if skipped > 0:
            self.say(
                f"{self._label(trial)}iteration {row.get(figures.ITERATION, 0)}: {skipped} gradient steps were not "
                "finite and are left out; look for rewards or observations that are huge, or try a lower learning rate"
            )
        stage = stage_of(row)
        before = self._stages.get(trial)
        self._stages[trial] = stage
        if before is not None and stage != before:
            score = f" (score {row[figures.EVAL]:.3f})" if figures.EVAL in row else ""
            self.say(f"{self._label(trial)}stage {before} → {stage} after {duration(row[figures.SECONDS])}{score}")
        if self._live is None and (first or figures.evaluated(row) or now - self._last_line >= LINE_EVERY):
            self._last_line = now
            self._line(trial, row)

    def _label(self, trial: str) -> str:
        """Which trial is meant, where there are several."""
        return f"trial {trial}: " if self.trials > 1 else ""

    def _line(self, trial: str, row: Mapping[str, Any], before: str = "") -> None:
        """Writes one plain line."""
        parts = [
            f"iteration {row.get(figures.ITERATION, 0)}",
            f"stage {stage_of(row)}" if stage_of(row) else "",
            f"stage score {stage_score_of(row)}" if stage_score_of(row) else "",
            f"{steps(row.get(figures.AGENT_STEPS, 0))} agent-steps",
            f"{steps(row.get(figures.RATE, 0))}/s",
            f"score {score_of(row)}",
            f"{duration(row['time_left'])} left" if row.get("time_left") and not before else "",
        ]
        self.say(self._label(trial) + before + ", ".join(filter(None, parts)))

    def __rich__(self) -> RenderableType:
        """The panel."""
        if self.trials > 1:
            return self._sweep_panel()
        row = next(iter(self._rows.values()), None)
        if row is None:
            return Text(f"{self.name}: {self._status} …", style="dim")
        table = Table.grid(padding=(0, 3))
        pairs = [
            ("stage", stage_of(row)),
            ("stage score", stage_score_of(row)),
            ("score", score_of(row)),
            ("agent-steps", f"{steps(row.get(figures.AGENT_STEPS, 0))} ({steps(row.get(figures.RATE, 0))}/s)"),
            ("time", duration(row.get(figures.SECONDS, 0))),
            ("left", duration(row["time_left"]) if row.get("time_left") else "…"),
        ]
        shown = [(name, value) for name, value in pairs if value]
        table.add_row(*(Text(name, style="dim") for name, _ in shown))
        table.add_row(*(Text(value, style="bold") for _, value in shown))
        done = ProgressBar(total=1.0, completed=figures.share_done(row, self.stop), width=60)
        title = Text(f"{self.name}: {self._status}, iteration {row.get(figures.ITERATION, 0)}", style="cyan")
        return Group(title, done, table)

    def _sweep_panel(self) -> RenderableType:
        """The trials of a sweep, the best first."""
        running = len(self._rows) - len(self._over)
        title = f"{self.name}: {running} running, {len(self._over)} of {self.trials} done"
        table = Table("trial", "iteration", "stage", "score", "agent-steps/s", title=title, title_justify="left")
        ranked = sorted(self._rows.items(), key=lambda item: -item[1].get(figures.BEST, float("-inf")))
        for trial, row in ranked[:12]:
            style = "dim" if trial in self._over else ""
            cells = (str(row.get(figures.ITERATION, 0)), stage_of(row), score_of(row), steps(row.get(figures.RATE, 0)))
            table.add_row(trial, *cells, style=style)
        return table
