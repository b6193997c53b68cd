"""Tests of fronts: volumes, who is on them, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.console import Console

from curriculum.files import parse_typed
from envs.resource_allocation import AllocationConfig, AllocationEnv
from envs.yaml_files import FileError
from evaluation.front import front_of, volume_of
from evaluation.results import ALL_RULES
from evaluation.suite import Front, Suite, load_suite
from evaluation.table import front_table
from policies.heuristics.resource_allocation import RULES

FRONT: dict[str, Any] = {
    "name": "front",
    "title": "A front",
    "kind": "held_out",
    "task": {"max_steps": 20, "tenants": 4, "load": 1.5},
    "episodes": 8,
    "objectives": ["value", "fairness"],
    "reference": {"value": 0.0, "fairness": 0.0},
    "variants": [{"fairness": 0.0}, {"fairness": 3.0}],
    "swept": ["marginal_welfare"],
}


def parsed(**changes: Any) -> Front:
    """A suite's front."""
    scenario = {"name": "one", "title": "One", "kind": "stress", "task": {}}
    suite = parse_typed(
        {"domain": "resource_allocation", "scenarios": [scenario], "front": {**FRONT, **changes}}, Suite, "here", {}
    )
    assert suite.front is not None
    return suite.front


def test_a_volume_is_what_lies_below_the_steps() -> None:
    """In the plane: two overlapping rectangles count their overlap once; what is worse than the reference nothing."""
    assert volume_of(np.array([[1.0, 3.0], [2.0, 1.0]]), np.zeros(2)) == pytest.approx(4.0)
    assert volume_of(np.array([[1.0, 3.0], [2.0, 1.0], [0.5, 0.5], [-1.0, 9.0]]), np.zeros(2)) == pytest.approx(4.0)


def test_a_front_holds_every_policy_and_all_rules_together() -> None:
    """Those that do not look at weights have one point; no single rule has more volume than all of them."""
    front = parsed()
    env = AllocationEnv(AllocationConfig(), 8)
    rules = {name: RULES[name]() for name in ("marginal_welfare", "equal_split")}
    found = front_of(front, env, {"me": RULES["shortest"]()}, rules, seed=3, confidence=0.95)
    by_name = {policy.policy: policy for policy in found.policies}
    assert {name: len(policy.points) for name, policy in by_name.items()} == {
        "me": 2,
        "marginal_welfare": 2,
        "equal_split": 1,
        ALL_RULES: 3,
    }
    assert by_name["me"].points[0] == by_name["me"].points[1]
    most = by_name[ALL_RULES].volume
    assert all(most.estimate >= by_name[name].volume.estimate for name in rules)
    assert set(by_name["me"].differences) == {*rules, ALL_RULES}
    gap = by_name["me"].differences["equal_split"]
    assert gap.low <= gap.estimate <= gap.high
    assert gap.estimate == pytest.approx(by_name["me"].volume.estimate - by_name["equal_split"].volume.estimate)
    assert any(any(policy.best) for policy in found.policies)
    console = Console(width=120, record=True)
    console.print(front_table(found))
    assert "of 2" in console.export_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": {"value": 0.0}}, "front: reference: got value, allowed is a value for each of value, fairness"),
        ({"variants": [{}]}, "front: variants: got 1, allowed are 2 or more: a front has more than one point"),
    ],
)
def test_what_spans_no_front_is_refused(changes: dict[str, Any], said: str) -> None:
    """One line that names the key."""
    with pytest.raises(FileError, match=said):
        parsed(**changes)


def test_an_objective_that_there_is_not_is_named() -> None:
    """With those there are."""
    front = parsed(objectives=["value", "speed"], reference={"value": 0.0, "speed": 0.0})
    with pytest.raises(
        ValueError, match=r"^front.objectives: got 'speed', allowed are value, fairness, energy, carbon"
    ):
        front_of(front, AllocationEnv(AllocationConfig(), 8), {}, {}, seed=0, confidence=0.95)


def test_rules_that_are_not_swept_do_not_look_at_weights() -> None:
    """Of the suite that comes with allocation: what is played once would be the same with any weights."""
    front = load_suite("resource_allocation").front
    assert front is not None
    env = AllocationEnv(AllocationConfig(), 2)
    first, last = front.tasks[0], front.tasks[-1]
    from policies.heuristics import baselines
    from policies.rollout import play

    for name, make in baselines("resource_allocation").policies.items():
        if name not in front.swept:
            values = [play(env, make(), task, seed=1).metrics["objective_value"] for task in (first, last)]
            np.testing.assert_array_equal(values[0], values[1])
