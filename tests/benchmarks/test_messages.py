"""Tests of the benchmark of messages."""

from __future__ import annotations

from benchmarks.harness import BENCHMARKS


def test_every_kind_is_measured_at_every_size() -> None:
    """There is a figure for no messages, the mean and attention in teams of each size, and the growth of the mean's."""
    lines: list[str] = []
    result = BENCHMARKS["messages"].run(sizes=(2, 5), agent_steps=40, repeats=2, progress=lines.append)
    *figures, growth = result.bars
    names = [f"{kind}, {agents} agents [us/agent-step]" for agents in (2, 5) for kind in ("none", "mean", "attention")]
    assert [bar.name for bar in figures] == names
    assert all(bar.value == bar.low > 0 for bar in figures)
    small, large = (bar.value for bar in figures if bar.name.startswith("mean"))
    assert growth.value == large / small
    assert len(lines) == 2 * len(names)
