"""How fast learners from the past step worlds and learn, beside RLlib's own, at equal networks and updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks.contender import Contender
from benchmarks.harness import Bar, BenchmarkResult, interleave, median_bar, ratio_bar

WORKER = "benchmarks.off_policy_worker"
AGAINST = {"sac": "stock_sac", "maddpg": "stock_sac", "qmix": "stock_dqn"}
"""Whom each is measured against: what RLlib has for the same actions."""
CROWD = 100
"""Agents with which memory is measured."""
MOST_REPLAY, MOST_MEMORY = 2_048.0, 6_144.0
"""What the replay and the whole process may take then [MiB]."""


def run(
    *,
    batch: int = 256,
    rates: Sequence[int] = (32, 4),
    repeats: int = 5,
    seconds: float = 8.0,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures steps and updates together, on three agents that cover landmarks, with two layers of 64.

    Args:
        batch: Transitions of an update: of whole worlds for ours, which so learns from three times as many rows.
        rates: Env steps between two updates.
        repeats: Rounds in which all contenders take turns.
        seconds: Least time of a measurement.
        progress: Called with a line after each.

    Returns:
        Ratios of env steps a second, paired round by round; each rate has updates in the same proportion to steps. And
        the memory that a hundred agents take.
    """
    bars, runs, peaks = [], {}, {}
    for rate in rates:
        kinds = [*AGAINST, *dict.fromkeys(AGAINST.values())]
        with ExitStack() as stack:
            contenders = {
                kind: stack.enter_context(
                    Contender(WORKER, {"kind": kind, "batch": batch, "rate": rate, "seconds": seconds})
                )
                for kind in kinds
            }
            paces = interleave(
                {kind: contender.measure for kind, contender in contenders.items()}, repeats, progress=progress
            )
            peaks[rate] = {kind: contender.peak_mib for kind, contender in contenders.items()}
        runs[rate] = paces
        every = f"an update every {rate} steps"
        for ours, theirs in AGAINST.items():
            name = f"{ours}, {every}: times {theirs}"
            bars.append(ratio_bar(name, paces[ours], paces[theirs], 10.0 if rate == rates[0] else None))
        bars += [median_bar(f"{kind}, {every} [env-steps/s]", values) for kind, values in paces.items()]
    bars += [Bar(f"{kind}: peak memory [MiB]", peak) for kind, peak in peaks[rates[0]].items()]
    for kind in AGAINST:
        bars += crowd(kind)
        progress(f"{kind}, {CROWD} agents: {bars[-1].value:.0f} MiB")
    return BenchmarkResult(bars, {"env-steps/s": runs, "peak MiB": peaks, "batch": batch})


def crowd(kind: str) -> list[Bar]:
    """Memory that a hundred traders take, by the settings that trading comes with, once the replay is full."""
    with Contender(WORKER, {"kind": kind, "crowd": CROWD}) as contender:
        replay = contender.measure()
        peak = contender.peak_mib
    return [
        Bar(f"{kind}, {CROWD} agents: replay [MiB]", replay, MOST_REPLAY, at_most=True),
        Bar(f"{kind}, {CROWD} agents: peak memory [MiB]", peak, MOST_MEMORY, at_most=True),
    ]
