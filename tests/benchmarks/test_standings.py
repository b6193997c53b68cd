"""Tests of how learners stand beside rules, and of what a liar gains."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import liars, standings
from envs.resource_allocation import AllocationConfig
from policies.heuristics.resource_allocation import RULES


def test_learners_are_held_to_the_strongest_rule() -> None:
    """In units of score, as a mean over seeds in the same worlds."""
    rng = np.random.default_rng(0)
    base = rng.normal(10.0, 1.0, 64)
    rules = {
        "returns": {
            "one": {"equal_split": base.tolist(), "marginal_welfare": (base + 4).tolist(), "other": (base + 5).tolist()}
        }
    }
    learned = [{"returns": {"one": {"learned": (base + gain).tolist()}}} for gain in (6.0, 8.0)]
    bars = {bar.name: bar for bar in standings._scenario("resource_allocation", "one", rules, learned)}
    assert bars["one: learned, score"].value == pytest.approx(7 / 4)
    assert bars["one: learned over other, the strongest"].value == pytest.approx(2 / 4)
    assert bars["one: other, score"].value == pytest.approx(5 / 4)


def test_fronts_are_held_to_all_rules_together() -> None:
    """Who reaches twice as much of every objective covers eight times the volume, were the reference all zero."""
    point = [10.0, 10.0, -10.0]
    rules = {"points": {"marginal_welfare": [[point, point]], "drf": [[point, point]]}}
    learned = [{"points": {"learned": [[[20.0, 20.0, 0.0]] * 2]}}]
    bars = {bar.name: bar.value for bar in standings._front("resource_allocation", rules, learned)}
    assert bars["front: learned over all rules together"] == pytest.approx(8.0)
    assert bars["front: drf over all"] == pytest.approx(1.0)


def test_every_rule_takes_part() -> None:
    """The yardsticks, and those that are too many for a terminal."""
    assert {"equal_split", "deficit_round_robin", "best_fit"} <= set(standings.all_rules("resource_allocation"))


def test_a_liar_gains_only_where_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everybody asks for all there is nothing to be gained by it; where they keep to an even part there is."""
    monkeypatch.setattr(liars, "WORLDS", 12)
    config = AllocationConfig(action_mode="discrete", levels=2)
    everything = liars.gains(RULES["everything"](), config)
    assert everything["liar"]["estimate"] == everything["team"]["estimate"] == 0.0
    assert liars.gains(RULES["equal_split"](), config)["liar"]["low"] > 0
