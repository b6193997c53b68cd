"""What is learned within a limit on late work, where energy is so dear that it pays to leave much undone.

Each seed is trained without a limit first: the limit is a share of what is late then, on average. Costs are those of
the policy as it is examined and served, without exploration, in worlds that nobody was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import mean_interval, seeds_interval

COST, SHARE = "late", 0.8
"""What is limited, and to which share of what it is without a limit."""
ENV: dict[str, Any] = {"clusters": ["cloud"], "tenants": 4, "slots": 4, "start": 1.0}
TASK: dict[str, Any] = {"tenants": 4, "load": 0.8, "fairness": 0.0, "price": {"mean": 100.0}}
VALUES: dict[str, Any] = {
    "curriculum": None,
    "env": ENV,
    "task": TASK,
    "runners.worlds": 32,
    "runners.rollout_length": 100,
    "ppo.lr": 0.002,
    "ppo.minibatch": 3200,
    "ppo.multiplier.exam_episodes": 32,
    "evaluation.interval": 0,
    "tracking.enabled": False,
}
"""What differs from the settings that come with the domain: episodes of all worlds end with each rollout."""
WORLDS, EACH, SEED = 256, 16, 70_000_001


def run(
    *, seeds: int = 3, iterations: int = 150, workers: int = 2, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Trains without the limit and within it.

    Args:
        seeds: Runs of each, from seed 0 on.
        iterations: Iterations of each, of 32 worlds times 100 steps.
        workers: Processes.
        progress: Called with a line after each run.

    Returns:
        Of each seed what is late over the limit, with a 95% interval over episodes, held to within 2% of 1; the same
        without a limit; and what the limit costs in returns.
    """
    free = _all(partial(one, iterations=iterations, limit=None), seeds, workers, progress)
    limit = SHARE * float(np.mean([np.mean(each["late"]) for each in free]))
    progress(f"limit: {limit:.4f}")
    held = _all(partial(one, iterations=iterations, limit=limit), seeds, workers, progress)
    bars: list[Bar] = []
    for name, each in (("no limit", free), ("limit", held)):
        for found in each:
            ratio = mean_interval(np.array(found["late"]) / limit)
            title = f"{name}, seed {found['seed']}: late work over the limit"
            goal = 1.02 if name == "limit" else None
            bars.append(Bar(title, ratio.estimate, goal, at_most=goal is not None, low=ratio.low, high=ratio.high))
    off = [abs(np.mean(each["late"]) / limit - 1) for each in held]
    bars.append(Bar("limit: how far late work is from it, the furthest seed", float(max(off)), 0.02, at_most=True))
    for name, each in (("no limit", free), ("limit", held)):
        mean = seeds_interval([found["mean_return"] for found in each])
        bars.append(Bar(f"{name}: return", mean.estimate, low=mean.low, high=mean.high))
    return BenchmarkResult(bars, {"limit": limit, "no_limit": _short(free), "within": _short(held)})


def _short(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs with means in the place of episodes."""
    return [{**each, "late": float(np.mean(each["late"]))} for each in runs]


def _all(train: Any, seeds: int, workers: int, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    runs = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for found in pool.map(train, range(seeds)):
            runs.append(found)
            course = f", multiplier {found['multipliers'][-1]:.3f}" if found["multipliers"] else ""
            progress(
                f"seed {found['seed']}: late {np.mean(found['late']):.3f}, return {found['mean_return']:.2f}{course}"
            )
    return runs


def one(seed: int, iterations: int, limit: float | None) -> dict[str, Any]:
    """Trains once.

    Returns:
        `late`, of each held-out episode; `mean_return` there; the course of `multipliers`, and of `costs` as training
        measured them.
    """
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    limits = {} if limit is None else {COST: limit}
    config = load("resource_allocation", values={**VALUES, "ppo.limits": limits, "seed": seed})
    algorithm = algorithm_config(config).build_algo()
    multipliers, costs = [], []
    try:
        for _ in range(iterations):
            result = algorithm.train()
            if limits:
                multipliers.append(result["multiplier"][COST])
                costs.append(result["cost"][COST])
        late, returns = held_out(algorithm.as_policy())
    finally:
        algorithm.stop()
    found = {"seed": seed, "late": late.tolist(), "mean_return": float(returns.mean())}
    return {**found, "multipliers": [round(m, 4) for m in multipliers], "costs": [round(c, 3) for c in costs]}


def held_out(policy: Any) -> tuple[Any, Any]:
    """What was late, and what was earned, in episodes nobody was trained on."""
    from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
    from policies.rollout import play

    task = AllocationTask.model_validate(TASK)
    env = AllocationEnv(AllocationConfig.model_validate(ENV), WORLDS, task=task)
    played = play(env, policy, task, seed=SEED, episodes_per_world=EACH)
    return played.metrics[f"cost_{COST}"], played.returns
