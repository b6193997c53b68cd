"""How long a whole PPO iteration takes, beside RLlib's own and Stable-Baselines3's, at equal hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contender import ROOT, Contender
from benchmarks.harness import Bar, BenchmarkResult, interleave, median_bar, ratio_bar

PEERS = ROOT / ".venv-bench" / "bin" / "python"
"""Interpreter of the environment that holds the peers; `make bench-peers` makes it."""
OURS, MEDIUM = "ours", "ours, learner at medium precision"
STOCK, STOCK_16, SB3 = "RLlib, 1 env", "RLlib, 16 envs", "Stable-Baselines3"


def run(
    *,
    agents: int = 4,
    rows: int = 16_000,
    worlds: int = 100,
    repeats: int = 7,
    peers: str | Path = PEERS,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures sampling, update and sync together, on trading with 4 assets and a flat network.

    Args:
        agents: Traders in the market.
        rows: Agent-steps of an iteration; 4 epochs of minibatches of 512 each.
        worlds: Worlds of ours and of Stable-Baselines3.
        repeats: Rounds in which all contenders take turns.
        peers: Interpreter with Stable-Baselines3.
        progress: Called with a line after each measurement.

    Returns:
        Ratios, paired round by round, and seconds.

    Raises:
        ValueError: If there is no such interpreter.
    """
    if not Path(peers).exists():
        raise ValueError(f"peers: got {peers}, which does not exist, allowed is an interpreter: make bench-peers")
    settings = {"agents": agents, "rows": rows}
    here, there = "benchmarks.training_worker", "benchmarks.sb3_worker"
    with ExitStack() as stack:
        enter = stack.enter_context
        contenders = {
            OURS: enter(Contender(here, {**settings, "kind": "ours", "worlds": worlds})),
            MEDIUM: enter(Contender(here, {**settings, "kind": "ours", "worlds": worlds, "precision": "medium"})),
            SB3: enter(Contender(there, {**settings, "worlds": worlds}, python=peers)),
            STOCK_16: enter(Contender(here, {**settings, "kind": "stock", "worlds": 16})),
            STOCK: enter(Contender(here, {**settings, "kind": "stock", "worlds": 1})),
        }
        seconds = interleave(
            {name: contender.measure for name, contender in contenders.items()}, repeats, progress=progress
        )
        peaks = {name: contender.peak_mib for name, contender in contenders.items()}
    bars = [
        ratio_bar("times as fast as RLlib's default (aim 10x)", seconds[STOCK], seconds[OURS], 6.0),
        ratio_bar("times as fast as RLlib with 16 envs (aim 4x)", seconds[STOCK_16], seconds[OURS], 2.5),
        ratio_bar("times as fast as Stable-Baselines3", seconds[SB3], seconds[OURS], 1.0),
        *(median_bar(f"{name} [s an iteration]", values) for name, values in seconds.items()),
        *(Bar(f"{name}: peak memory [MiB]", peak) for name, peak in peaks.items()),
    ]
    return BenchmarkResult(bars, {"seconds": seconds, "peak MiB": peaks, "worlds": worlds, **settings})
