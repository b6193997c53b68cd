"""How fast a domain is stepped, everything on, on one core, in a process of its own.

Of supply chains that is the second stage, with its disruptions; of resource allocation the last one, where machines
fail and tenants come and go, with 32 of them.
"""

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
TENANTS = 32


def run(
    *,
    domain: str = "supply_chain",
    sizes: Sequence[int] = (64, 128, 256, 512),
    repeats: int = 5,
    seconds: float = 3.0,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures agent-steps a second.

    Args:
        domain: What is stepped: `supply_chain` or `resource_allocation`.
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
                Contender("benchmarks.stepping", {"domain": domain, "worlds": worlds, "seconds": seconds})
            )
            for worlds in sizes
        }
        figures = interleave({name: each.measure for name, each in processes.items()}, repeats, progress=progress)
        peaks = {name: each.peak_mib for name, each in processes.items()}
    bars = [median_bar(f"{name} [agent-steps/s]", values, LEAST) for name, values in figures.items()]
    bars += [Bar(f"{name}: peak memory [MiB]", peak) for name, peak in peaks.items()]
    return BenchmarkResult(bars, {"agent-steps/s": figures, "peak MiB": peaks})


def main(*, domain: str, worlds: int, seconds: float) -> None:
    """Serves figures in agent-steps a second, under random actions that were drawn beforehand."""
    env = made(domain, worlds)
    env.reset(0)
    play = stepped(env, env.tasks[0].max_steps)  # an episode: draws of new ones count as often as in training
    play()
    serve(partial(pace, play, seconds))


def made(domain: str, worlds: int) -> BatchedEnv:
    """The worlds that are stepped.

    Raises:
        ValueError: If there are none for a domain.
    """
    from envs.registry import get_domain
    from rllib_configs.overrides import load
    from rllib_configs.stages import stages_of

    known = {"supply_chain": "disrupted", "resource_allocation": "failing"}
    if domain not in known:
        raise ValueError(f"domain: got {domain!r}, allowed are {', '.join(known)}")
    (task,) = (stage.task for stage in stages_of(load(domain)).stages if stage.name == known[domain])
    if domain == "supply_chain":
        return get_domain(domain).env({"networks": ("stage_2",), "longest_delay": 2}, worlds, task=task)
    task = task.model_copy(update={"tenants": TENANTS})
    return get_domain(domain).env({"tenants": TENANTS}, worlds, task=task)


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
