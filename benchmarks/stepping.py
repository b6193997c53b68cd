"""How fast a supply chain is stepped: the second stage, disruptions and all, on one core, in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from benchmarks.contender import Contender, options, serve
from benchmarks.harness import Bar, BenchmarkResult, interleave, median_bar
from envs.base import BatchedEnv

LEAST = 500_000.0
STEPS = 60
"""An episode of the stage: draws of new episodes count as often as they do in training."""


def run(
    *,
    sizes: Sequence[int] = (64, 128, 256, 512),
    repeats: int = 5,
    seconds: float = 3.0,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures agent-steps a second.

    Args:
        sizes: Worlds stepped together.
        repeats: Rounds in which all sizes take turns.
        seconds: Least time of a measurement.
        progress: Called with a line after each.

    Returns:
        For each size the median over rounds, and peak memory of the process.
    """
    with ExitStack() as stack:
        processes = {
            f"{worlds} worlds": stack.enter_context(
                Contender("benchmarks.stepping", {"worlds": worlds, "seconds": seconds})
            )
            for worlds in sizes
        }
        figures = interleave({name: each.measure for name, each in processes.items()}, repeats, progress=progress)
        peaks = {name: each.peak_mib for name, each in processes.items()}
    bars = [median_bar(f"{name} [agent-steps/s]", values, LEAST) for name, values in figures.items()]
    bars += [Bar(f"{name}: peak memory [MiB]", peak) for name, peak in peaks.items()]
    return BenchmarkResult(bars, {"agent-steps/s": figures, "peak MiB": peaks})


def main(*, worlds: int, seconds: float) -> None:
    """Serves figures in agent-steps a second, under random orders that were drawn beforehand."""
    from envs.supply_chain import SupplyChainEnv, SupplyConfig, SupplyTask
    from rllib_configs.overrides import load
    from rllib_configs.stages import stages_of

    (task,) = (stage.task for stage in stages_of(load("supply_chain")).stages if stage.name == "disrupted")
    assert isinstance(task, SupplyTask)
    env = SupplyChainEnv(SupplyConfig(networks=(task.network,), longest_delay=2), worlds, task=task)
    env.reset(0)
    play = stepped(env, STEPS)
    play()
    serve(partial(pace, play, seconds))


def stepped(env: BatchedEnv, steps: int) -> Callable[[], int]:
    """Takes so many steps under random actions that were drawn beforehand; each call returns the agent-steps."""
    rng = np.random.default_rng(0)
    drawn = [
        {
            group.name: rng.uniform(-1, 1, (env.num_worlds, group.size, group.num_actions)).astype(np.float32)
            for group in env.groups.values()
        }
        for _ in range(steps)
    ]

    def play() -> int:
        taken = 0
        for actions in drawn:
            taken += sum(int(alive.sum()) for alive in env.alive.values())
            env.step(actions)
        return taken

    return play


def pace(play: Callable[[], int], seconds: float) -> float:
    """Agent-steps a second of what is called again and again for at least so long."""
    taken, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds or not taken:
        taken += play()
    return taken / passed


if __name__ == "__main__":
    main(**options(sys.argv))
