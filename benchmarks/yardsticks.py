"""Levels and bounds of the supply-chain tasks that come with Entrepot, found once and kept in files beside the rules.

Where a task or a network changes, so do its entries: run `entrepot bench yardsticks` and commit the files. Here
networks of up to `FINELY` ways have a level for every way; a user's larger ones have one for each kind, in a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from envs.supply_chain import SupplyConfig, SupplyTask
from evaluation.suite import Suite
from policies.heuristics.supply_chain import hindsight, safety_stocks
from policies.heuristics.supply_chain.memory import alone
from rllib_configs.overrides import load
from rllib_configs.stages import stages_of
from tune.suites import suite_of

FINELY = 48


def run(*, worlds: int = 128, progress: Callable[[str], None] = print) -> BenchmarkResult:
    """Finds what is not known yet.

    Args:
        worlds: Worlds that a bound is the mean of.
        progress: Called with a line after each task.

    Returns:
        The bounds.
    """
    bars: list[Bar] = []
    runs: list[dict[str, Any]] = []
    for name, config, task in tasks():
        levels = safety_stocks.MEMORY.recall(config, task)
        if levels is None:
            ways = [way.name for way in config.loaded[task.network].ways]
            found = safety_stocks.search(config, task, finely=len(ways) <= FINELY)
            levels = {"safety": dict(zip(ways, np.round(found, 4).tolist(), strict=False))}
            safety_stocks.MEMORY.keep(config, task, levels, safety_stocks.MEMORY.built_in)
        bound = hindsight.MEMORY.recall(config, task)
        if bound is None:
            bound = hindsight.bounds(config, task, worlds)
            hindsight.MEMORY.keep(config, task, bound, hindsight.MEMORY.built_in)
        progress(f"{name}: {bound['bound']:.2f}")
        bars.append(Bar(f"{name}: bound", bound["bound"]))
        runs.append({"task": name, **{key: bound[key] for key in ("bound", "error", "worlds")}})
    return BenchmarkResult(bars, runs)


def tasks() -> Iterator[tuple[str, SupplyConfig, SupplyTask]]:
    """The built-in stages and scenarios, each with its network alone."""
    config = load("supply_chain")
    suite: Suite = suite_of(config)
    found = {stage.name: stage.task for stage in stages_of(config).stages}
    found |= {each.name: task for each in suite.scenarios for task in each.tasks}
    env = config.env_config()
    assert isinstance(env, SupplyConfig)
    for name, task in found.items():
        assert isinstance(task, SupplyTask)
        yield name, alone(env, task), task
