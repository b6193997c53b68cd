"""What the faults benchmark makes of its runs; the runs themselves need the laboratory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.faults import bars_of
from benchmarks.faults_worker import write_experiment
from evaluation.suite import load_suite
from rllib_configs.overrides import load


def line(fault: str, seed: int, score: float, seconds: float = 60.0) -> dict[str, Any]:
    """One run, with an interval of 0.1 either way."""
    figures = {"seconds": seconds, "standstill": 1.0, "repeated": 0, "iterations": 60, "jobs": 1}
    return {"fault": fault, "seed": seed, "score": score, "low": score - 0.1, "high": score + 0.1, **figures}


def test_a_worse_result_fails_its_bar() -> None:
    """A run whose interval lies apart from that of the undisturbed run of its seed does not hold; a slower one does."""
    lines = [line("none", 0, 0.3), line("none", 1, 0.9), line("head", 0, 0.4, 90.0), line("head", 1, 0.8, 70.0)]
    bars = {bar.name: bar for bar in bars_of([*lines, line("worker", 0, 0.05), line("worker", 1, 0.9)])}
    assert bars["head: gap between the intervals of the final scores, largest"].holds
    assert not bars["worker: gap between the intervals of the final scores, largest"].holds
    assert bars["head: longer than undisturbed [s]"].value == 20.0
    assert (bars["head: longer than undisturbed [s]"].low, bars["head: longer than undisturbed [s]"].high) == (
        10.0,
        30.0,
    )


def test_the_experiment_is_one_that_can_be_run(tmp_path: Path) -> None:
    """Its file passes all checks, and its suite is one of the domain's that has a held-out scenario."""
    config = load("trading", file=write_experiment(tmp_path))
    assert config.runners.num_env_runners == 2
    assert config.task is not None
    suite = load_suite(config.evaluation.suite)
    assert [scenario.kind for scenario in suite.scenarios] == ["held_out"]
