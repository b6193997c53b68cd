"""Tests of the benchmark of fairness."""

from __future__ import annotations

import pytest

from benchmarks import fairness
from policies.heuristics.resource_allocation.optimum import Fairest
from policies.heuristics.resource_allocation.rules import EqualSplit


def test_the_optimum_is_one_and_an_even_part_far_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In few worlds as in many: the fairest allocation is worth what it is, whether for a step or for several."""
    monkeypatch.setattr(fairness, "WORLDS", 6)
    monkeypatch.setitem(fairness.TASK, "max_steps", 2)
    best = fairness.optimum()
    assert set(best) == {"0", "1", "2"}
    for share in fairness.shares(Fairest(), best).values():
        assert share == pytest.approx(1.0, abs=0.02)
    assert all(share < 0.85 for share in fairness.shares(EqualSplit(), best).values())
