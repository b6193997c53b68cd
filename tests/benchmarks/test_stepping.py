"""Tests of the benchmark of a supply chain's steps."""

from __future__ import annotations

from benchmarks.contender import Contender


def test_a_stage_is_stepped_in_a_process_of_its_own() -> None:
    """It answers with a figure, and says how much memory it took."""
    with Contender("benchmarks.stepping", {"worlds": 2, "seconds": 0.01}) as contender:
        assert contender.measure() > 0
        assert contender.peak_mib > 10
