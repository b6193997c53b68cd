"""Tests of the benchmark of a domain's steps."""

from __future__ import annotations

import pytest

from benchmarks.contender import Contender
from benchmarks.stepping import made


@pytest.mark.parametrize("domain", ["supply_chain", "resource_allocation"])
def test_a_stage_is_stepped_in_a_process_of_its_own(domain: str) -> None:
    """It answers with a figure, and says how much memory it took."""
    with Contender("benchmarks.stepping", {"domain": domain, "worlds": 2, "seconds": 0.01}) as contender:
        assert contender.measure() > 0
        assert contender.peak_mib > 10


def test_other_domains_are_refused() -> None:
    """One line."""
    with pytest.raises(ValueError, match="domain: got 'cue', allowed are supply_chain, resource_allocation"):
        made("cue", 1)
