"""What each fault costs a training run on a cluster of three real nodes, and whether what is learned is the same.

The nodes are the laboratory's (`cluster/testbed`): machines of namespaces on this machine, so this needs root.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Bar, BenchmarkResult
from cluster.description import ROOT
from cluster.testbed.lab import HERE


def run(*, rounds: int = 1, progress: Callable[[str], None] = print) -> BenchmarkResult:
    """Trains four traders on one task, undisturbed and with each fault.

    Args:
        rounds: How often each, with a seed of its own; all take turns.
        progress: Called with a line after each run.

    Returns:
        For each fault: the final score, which must be within that of the undisturbed run of the same seed (the gap
        between their 95% intervals is below 0); how long it took longer; the longest standstill; iterations repeated.

    Raises:
        RuntimeError: If a run did not come to its end.
    """
    worker = [str(HERE / "lab.sh"), sys.executable, "-m", "benchmarks.faults_worker", str(rounds)]
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(worker, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            progress(" ".join(f"{key} {_shown(value)}" for key, value in lines[-1].items()))
    if process.returncode:
        raise RuntimeError(f"faults: the laboratory ended with exit code {process.returncode}")
    return BenchmarkResult(bars_of(lines), lines)


def bars_of(lines: list[dict[str, Any]]) -> list[Bar]:
    """The figures of all runs, fault by fault."""
    calm = {line["seed"]: line for line in lines if line["fault"] == "none"}
    scores = [line["score"] for line in calm.values()]
    times = [line["seconds"] for line in calm.values()]
    bars = [_bar("score, undisturbed", scores), _bar("time, undisturbed [s]", times)]
    for fault in dict.fromkeys(line["fault"] for line in lines if line["fault"] != "none"):
        hit = [line for line in lines if line["fault"] == fault]
        gaps = [max(line["low"] - calm[line["seed"]]["high"], calm[line["seed"]]["low"] - line["high"]) for line in hit]
        bars += [
            _bar(f"{fault}: score", [line["score"] for line in hit]),
            Bar(f"{fault}: gap between the intervals of the final scores, largest", max(gaps), 0.0, at_most=True),
            _bar(f"{fault}: longer than undisturbed [s]", [x["seconds"] - calm[x["seed"]]["seconds"] for x in hit]),
            _bar(f"{fault}: longest standstill [s]", [line["standstill"] for line in hit]),
            _bar(f"{fault}: iterations done twice", [line["repeated"] for line in hit]),
        ]
    return bars


def _bar(name: str, values: list[float]) -> Bar:
    """Mean, smallest and largest."""
    return Bar(name, sum(values) / len(values), low=min(values), high=max(values))


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
