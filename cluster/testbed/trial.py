"""A training run on the laboratory's cluster, watched from outside as a person would, with a fault on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cluster.description import ROOT
from cluster.testbed.lab import SHARED

RESULTS = SHARED / "results"


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        seconds: How long it took from being submitted to being over, final evaluation included [s].
        iterations: Training iterations it counts.
        repeated: Iterations that were done twice, since they came after the last checkpoint.
        standstill: Longest time between two iterations after the first [s].
        jobs: How often it was submitted.
        score: Mean score of the final evaluation on held-out worlds.
        low: Lower end of its 95% interval.
        high: Upper end.
    """

    seconds: float
    iterations: int
    repeated: int
    standstill: float
    jobs: int
    score: float
    low: float
    high: float

    def agrees_with(self, other: Outcome) -> bool:
        """Whether the intervals of the two final evaluations overlap."""
        return self.low <= other.high and other.low <= self.high


class TrialError(RuntimeError):
    """A run did not come to its end; the message ends with what it printed."""


def entrepot(*arguments: str, timeout: float = 300) -> str:
    """Runs `entrepot` as a person on her laptop would; returns what it printed.

    Raises:
        TrialError: If it fails.
    """
    done = subprocess.run(
        _command(*arguments), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise TrialError(f"entrepot {' '.join(arguments)}: exit code {done.returncode}; {said}")
    return done.stdout


def run(
    cluster_file: Path,
    name: str,
    arguments: Sequence[str],
    disturb: Callable[[], Any] | None = None,
    *,
    after: int = 10,
    timeout: float = 900,
) -> Outcome:
    """Submits a run with `--supervise`, and waits until it is over.

    Args:
        cluster_file: The cluster's description.
        name: Name of the experiment.
        arguments: What else `train` is told.
        disturb: Called once the run has done some iterations and has a checkpoint.
        after: How many iterations.
        timeout: How long it may take in all [s].

    Raises:
        TrialError: If it fails, or takes too long.
    """
    settings = ["--set", f"resources.results={RESULTS}", "--experiment", name]
    log = SHARED / f"{name}.log"
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            _command("cluster", "submit", str(cluster_file), "--supervise", "--", "train", *arguments, *settings),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    folder = RESULTS / name
    seen: list[tuple[float, int]] = []
    disturbed = disturb is None
    try:
        while process.poll() is None:
            now = time.monotonic()
            if now - started > timeout:
                raise TrialError(f"{name}: not over after {timeout:g} s; {_tail(log)}")
            iterations = [row["training_iteration"] for row in _rows(folder)]
            seen += [(now, iteration) for iteration in iterations[len(seen) :]]
            if not disturbed and len(seen) >= after and any(folder.glob("trial_*/checkpoint_*")):
                disturbed = True
                assert disturb is not None
                disturb()
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    seconds = time.monotonic() - started
    if process.returncode:
        raise TrialError(f"{name}: exit code {process.returncode}; {_tail(log)}")
    if not disturbed:
        raise TrialError(f"{name}: was over before it could be disturbed")
    low, score, high = _score(folder)
    last = [row["training_iteration"] for row in _rows(folder)]  # the last of them while it was disturbed, perhaps
    return Outcome(
        seconds=seconds,
        iterations=max(last),
        repeated=len(last) - len(set(last)),
        standstill=max(later - earlier for (earlier, _), (later, _) in pairwise(seen)),
        jobs=len(re.findall(r"^\S+ submitted ", log.read_text(encoding="utf-8"), re.MULTILINE)),
        score=score,
        low=low,
        high=high,
    )


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "entrepot.py"), *arguments]


def _rows(folder: Path) -> list[dict[str, Any]]:
    """What the run has reported, as it was written; half a line is left for later."""
    try:
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _score(folder: Path) -> tuple[float, float, float]:
    """Interval and mean of the learned policy's score over the held-out scenarios."""
    from evaluation.results import Comparison

    comparison = Comparison.load(folder / "evaluation.json")
    (held_out,) = [each for each in comparison.overall if each.kind == "held_out"] or comparison.scenarios[:1]
    result = held_out.of(comparison.learners[0])
    assert result is not None
    assert result.score is not None
    return result.score.low, result.score.estimate, result.score.high


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " | ".join(lines[-5:])
