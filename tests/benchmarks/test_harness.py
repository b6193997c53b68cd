"""The benchmarks' bars, ratios and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness import BENCHMARKS, Bar, BenchmarkResult, as_json, interleave, median_bar, ratio_bar, write_json


@pytest.mark.parametrize(
    ("bar", "holds"),
    [
        (Bar("x", 10.0, 10.0), True),
        (Bar("x", 9.9, 10.0), False),
        (Bar("x", 9.9, 10.0, at_most=True), True),
        (Bar("x", 10.1, 10.0, at_most=True), False),
        (Bar("x", 1.0), None),
    ],
)
def test_a_bar_holds_when_its_goal_is_met(bar: Bar, holds: bool | None) -> None:
    """A bar compares with its goal in the right direction, and says nothing without one."""
    assert bar.holds is holds


def test_ratios_are_paired_round_by_round() -> None:
    """The median of paired ratios is taken, not the ratio of medians."""
    bar = ratio_bar("speed-up", [10.0, 40.0, 90.0], [1.0, 10.0, 10.0], 8.0)
    assert (bar.value, bar.low, bar.high, bar.holds) == (9.0, 4.0, 10.0, True)


def test_contenders_take_turns() -> None:
    """Each round measures every contender once, in order."""
    order: list[str] = []
    figures = interleave(
        {name: lambda name=name: order.append(name) or 1.0 for name in "ab"},  # type: ignore[misc]
        2,
        progress=lambda line: None,
    )
    assert order == ["a", "b", "a", "b"]
    assert figures == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_json_has_the_common_format(tmp_path: Path) -> None:
    """A written result holds bars, machine, command, date and runs, and nothing else is left in the folder."""
    result = BenchmarkResult([median_bar("s", [1.0, 3.0, 2.0], 2.5)], runs=[1, 2])
    path = tmp_path / "deep" / "result.json"
    write_json(path, as_json("demo", result, "entrepot bench demo"))
    content = json.loads(path.read_text())
    assert set(content) == {"benchmark", "bars", "machine", "command", "date", "runs"}
    assert content["bars"][0] | {"low": 1.0, "high": 3.0, "value": 2.0, "holds": False} == content["bars"][0]
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A value that cannot be written leaves neither the file nor a trace of it."""
    with pytest.raises(TypeError):
        write_json(tmp_path / "result.json", {"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_every_benchmark_can_be_found() -> None:
    """Each named benchmark points to a function that exists."""
    from importlib import import_module

    for benchmark in BENCHMARKS.values():
        module, _, function = benchmark.address.partition(":")
        assert callable(getattr(import_module(module), function))
