"""Tests of the benchmark of limits."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import limits
from policies.heuristics.resource_allocation.rules import Everything


def test_a_seeds_limit_is_a_share_of_what_was_late_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seed is trained twice, the second time within four fifths of what the first one came to."""
    limit_of: list[float | None] = []

    def fake(seed: int, iterations: int, limit: float | None) -> dict[str, Any]:
        limit_of.append(limit)
        return {"late": [10.0, 30.0], "mean_return": -1.0}

    monkeypatch.setattr(limits, "one", fake)
    assert limits.pair(3, 5)["limit"] == 16.0
    assert limit_of == [None, 16.0]


@pytest.mark.parametrize(
    ("ends", "holds"),
    [
        ([1.01, 0.99, 1.0], [True, True, True, True]),
        ([1.0, 0.97, 1.0], [True, True, True, False]),
        ([1.0, 1.03, 1.0], [True, False, True, False]),
    ],
)
def test_whoever_is_off_by_more_than_two_percent_fails(ends: list[float], holds: list[bool]) -> None:
    """Above the limit the seed's own bar does not hold, and below it the one of all seeds."""
    runs = [
        {
            "seed": seed,
            "limit": 16.0,
            "free": {"late": [20.0] * 4, "mean_return": 2.0},
            "held": {"late": [16.0 * end] * 4, "mean_return": 1.0},
        }
        for seed, end in enumerate(ends)
    ]
    bars = limits.bars_of(runs)
    assert [bar.holds for bar in bars if bar.goal is not None] == holds
    assert [bar.value for bar in bars if bar.name.startswith("no limit, seed")] == [1.25] * 3


def test_what_is_held_out_is_measured_without_exploration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule plays the benchmark's worlds: where all is asked for, some of the work is late, and the same each time."""
    monkeypatch.setattr(limits, "WORLDS", 4)
    monkeypatch.setattr(limits, "EACH", 1)
    late, returns = limits.held_out(Everything())
    assert late.shape == returns.shape == (4,)
    assert 0 < late.mean() < 100
    assert (limits.held_out(Everything())[0] == late).all()
