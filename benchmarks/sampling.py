"""How fast our runner samples, beside RLlib's own: same env, same network, same core, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.contender import Contender
from benchmarks.harness import Bar, BenchmarkResult, interleave, median_bar, ratio_bar

ROWS = 2_048
"""Agents that one forward pass of ours serves, roughly: many enough to fill it, few enough for the cache."""
STOCK_ROWS = 4_096
"""Agent-steps of one rollout of RLlib's runner: its cost a rollout is spread over many."""
LEAST, AIM = 10.0, 20.0
ENV_LEAST = 1e6


def run(
    *,
    sizes: Sequence[int] = (4, 32, 100),
    repeats: int = 5,
    seconds: float = 3.0,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures agent-steps a second of trading with 4 assets.

    Args:
        sizes: Numbers of agents.
        repeats: Rounds in which all contenders of one size take turns.
        seconds: Least time of a measurement.
        progress: Called with a line after each.

    Returns:
        For each size our flat network against the better of RLlib's runner with 1 and 16 envs, paired round by round;
        our default network; the env alone; and peak memory of whole processes.
    """
    bars: list[Bar] = []
    runs: dict[str, Any] = {}
    for agents in sizes:
        worlds = max(1, ROWS // agents)
        contenders = {
            "ours, flat": {"kind": "flat", "worlds": worlds, "steps": 16},
            "ours, default network": {"kind": "default", "worlds": worlds, "steps": 16},
            "RLlib, 1 env": {"kind": "stock", "worlds": 1, "steps": max(1, STOCK_ROWS // agents)},
            "RLlib, 16 envs": {"kind": "stock", "worlds": 16, "steps": max(1, STOCK_ROWS // agents // 16)},
        }
        if agents == 32:
            contenders["env alone"] = {"kind": "env", "worlds": 64, "steps": 64}
        figures, peaks = measured(contenders, agents=agents, seconds=seconds, repeats=repeats, progress=progress)
        runs[f"{agents} agents"] = {"agent-steps/s": figures, "peak MiB": peaks, "worlds of ours": worlds}
        bars += bars_of(agents, figures, peaks)
    return BenchmarkResult(bars, runs)


def measured(
    contenders: dict[str, dict[str, Any]],
    *,
    agents: int,
    seconds: float,
    repeats: int,
    progress: Callable[[str], None],
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Figures and peak memory by contender."""
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                Contender("benchmarks.sampling_worker", {"agents": agents, "seconds": seconds, **options})
            )
            for name, options in contenders.items()
        }
        figures = interleave(
            {name: process.measure for name, process in processes.items()},
            repeats,
            progress=lambda line: progress(f"{agents} agents  {line}"),
        )
        return figures, {name: process.peak_mib for name, process in processes.items()}


def bars_of(agents: int, figures: dict[str, list[float]], peaks: dict[str, float]) -> list[Bar]:
    """What one size comes to."""
    better = [max(pair) for pair in zip(figures["RLlib, 1 env"], figures["RLlib, 16 envs"], strict=True)]
    name = f"{agents} agents:"
    bars = [
        ratio_bar(f"{name} ours / better RLlib (aim {AIM:g}x)", figures["ours, flat"], better, LEAST),
        *(
            median_bar(f"{name} {contender} [agent-steps/s]", values, ENV_LEAST if contender == "env alone" else None)
            for contender, values in figures.items()
        ),
    ]
    ours = peaks["ours, flat"]
    bars.append(Bar(f"{name} peak memory, ours, flat [MiB]", ours))
    bars.append(Bar(f"{name} peak memory, RLlib, 16 envs [MiB]", peaks["RLlib, 16 envs"]))
    return bars
