"""Tests of the benchmark of what a memory is worth."""

from __future__ import annotations

import pytest

from benchmarks.harness import BENCHMARKS


@pytest.mark.usefixtures("ray_local")
def test_both_networks_are_measured_beside_exact_costs() -> None:
    """There is a cost with memory and without, of each seed, held to Bayes' exact one, which the unlearned miss."""
    lines: list[str] = []
    result = BENCHMARKS["newsvendor"].run(seeds=(0, 1), iterations=1, worlds=32, progress=lines.append)
    bars = {bar.name: bar for bar in result.bars}
    assert bars["bayes, exactly"].value == pytest.approx(9.666, abs=1e-3)
    for name in ("memory gru", "memory gru, highest seed"):
        assert bars[name].goal == pytest.approx(1.05 * 9.666, abs=1e-3)
        assert bars[name].holds is False
    assert bars["memory none"].goal is None
    assert [(run["memory"], run["seed"], run["steps"]) for run in result.runs] == [
        (memory, seed, [5120]) for memory in ("gru", "none") for seed in (0, 1)
    ]
    assert len(lines) == 4
