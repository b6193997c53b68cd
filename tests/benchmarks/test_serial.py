"""Tests of the benchmark on the serial system."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import serial
from policies.heuristics.supply_chain.levels import AsSold, ClarkScarf


def test_the_optimum_costs_what_it_is_computed_to() -> None:
    """Clark and Scarf's levels cost 47.67 a step in the long run, and nothing costs less."""
    optimum = serial.cost_of(ClarkScarf())
    assert optimum == pytest.approx(47.67, rel=0.01)
    assert serial.cost_of(AsSold()) > 1.01 * optimum


def test_bars_are_held_against_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over seeds, with its interval, over what is optimal; untrained networks must cost more."""
    costs = iter([48.0, 49.0, 47.8, 47.8])
    found: dict[str, Any] = {}
    monkeypatch.setattr(serial, "cost_of", lambda policy: 50.0)
    monkeypatch.setattr(
        serial,
        "one",
        lambda name, seed, iterations: {"seed": seed, "untrained": 80.0, "cost": next(costs), "minutes": 3.0},
    )
    result = serial.run(seeds=2, iterations=1, progress=lambda line: found.setdefault(line, None))
    bars = {bar.name: bar for bar in result.bars}
    learned = bars["ppo: cost over the optimum, mean of 2 seeds"]
    assert learned.value == pytest.approx(48.5 / 47.66, rel=1e-3)
    assert learned.low is not None
    assert learned.low < learned.value
    assert bars["pathwise: cost over the optimum, mean of 2 seeds"].value == pytest.approx(47.8 / 47.66, rel=1e-3)
    assert all(bar.holds in (True, None) for bar in bars.values())
    assert bars["tuned: cost over the optimum"].value == pytest.approx(50 / 47.66, rel=1e-3)
