"""Tests of the benchmark of limits."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import limits
from policies.heuristics.resource_allocation.rules import Everything


def test_the_limit_is_a_share_of_what_was_late_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends at it holds the bars, and who is off by more than 2% does not, be it above or below."""

    def fake(train: Any, seeds: int, workers: int, progress: Any) -> list[dict[str, Any]]:
        limit = train.keywords["limit"]
        late = [10.0, 20.0, 30.0] if limit is None else [limit * share for share in ends]
        return [
            {"seed": seed, "late": [late[seed]] * 4, "mean_return": -1.0, "multipliers": [], "costs": []}
            for seed in range(seeds)
        ]

    monkeypatch.setattr(limits, "_all", fake)
    held = {}
    for ends in ([1.01, 0.99, 1.0], [1.0, 0.97, 1.0], [1.0, 1.03, 1.0]):
        result = limits.run(progress=str)
        assert result.runs["limit"] == 16.0
        held[tuple(ends)] = [bar.holds for bar in result.bars if bar.goal is not None]
    assert held == {
        (1.01, 0.99, 1.0): [True, True, True, True],
        (1.0, 0.97, 1.0): [True, True, True, False],
        (1.0, 1.03, 1.0): [True, False, True, False],
    }


def test_what_is_held_out_is_measured_without_exploration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule plays the benchmark's worlds: where all is asked for, some of the work is late, and the same each time."""
    monkeypatch.setattr(limits, "WORLDS", 4)
    monkeypatch.setattr(limits, "EACH", 1)
    late, returns = limits.held_out(Everything())
    assert late.shape == returns.shape == (4,)
    assert 0 < late.mean() < 100
    assert (limits.held_out(Everything())[0] == late).all()
