"""What is learned within a limit on late work, where energy is so dear at times that it pays to leave much undone.

Each seed is trained without a limit first: its limit is a share of what is late then. Costs are those of the policy as
it is examined and served, without exploration, in worlds that nobody was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import mean_interval, seeds_interval

COST, SHARE = "late", 0.8
"""What is limited, and to which share of what it is without a limit."""
CLUSTER = str(Path(__file__).with_name("limits_cluster.yaml"))
ENV: dict[str, Any] = {"clusters": [CLUSTER], "tenants": 4, "slots": 3, "action_mode": "discrete", "levels": 2}
STEPS, PLAYED, LR = 50, 32, 0.003
TASK: dict[str, Any] = {
    "max_steps": STEPS,
    "load": 0.7,
    "fairness": 0.0,
    "price": {"mean": 8.0, "season": {"amplitude": 0.6, "period": 25}, "cv": 0.3},
}
"""Light jobs pay at most hours, heavy ones at few: more is done the more it costs to be late."""
VALUES: dict[str, Any] = {
    "curriculum": None,
    "env": ENV,
    "task": TASK,
    "runners.worlds": PLAYED,
    "runners.rollout_length": STEPS,
    "ppo.gamma": 0.9,
    "ppo.minibatch": 1600,
    "ppo.multiplier.exam_episodes": 32,
    "evaluation.interval": 0,
    "tracking.enabled": False,
}
"""What differs from the settings that come with the domain: episodes of all worlds end with each rollout."""
WORLDS, EACH, SEED = 256, 16, 70_000_001


def run(
    *, seeds: int = 3, iterations: int = 70, workers: int = 2, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Trains without the limit and within it.

    Args:
        seeds: Runs of each, from seed 0 on.
        iterations: Iterations of each, of 32 worlds times 50 steps.
        workers: Processes.
        progress: Called with a line after each seed.

    Returns:
        Of each seed what is late over its limit, with a 95% interval over episodes, held to within 2% of 1; the same
        without a limit; and what the limit costs in returns.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = []
        for found in pool.map(partial(pair, iterations=iterations), range(seeds)):
            runs.append(found)
            late = {name: round(float(np.mean(found[name]["late"])), 3) for name in ("free", "held")}
            progress(f"seed {found['seed']}: limit {found['limit']:.3f}, late {late}")
    return BenchmarkResult(bars_of(runs), [_short(each) for each in runs])


def bars_of(runs: list[dict[str, Any]]) -> list[Bar]:
    """What was found, of the seeds that `pair` returned."""
    bars: list[Bar] = []
    for name, title in (("free", "no limit"), ("held", "limit")):
        goal = 1.02 if name == "held" else None
        for each in runs:
            over = mean_interval(np.array(each[name]["late"]) / each["limit"])
            label = f"{title}, seed {each['seed']}: late work over the limit"
            bars.append(Bar(label, over.estimate, goal, at_most=goal is not None, low=over.low, high=over.high))
    off = [abs(float(np.mean(each["held"]["late"])) / each["limit"] - 1) for each in runs]
    bars.append(Bar("limit: how far late work is from it, the furthest seed", max(off), 0.02, at_most=True))
    for name, title in (("free", "no limit"), ("held", "limit")):
        mean = seeds_interval([each[name]["mean_return"] for each in runs])
        bars.append(Bar(f"{title}: return", mean.estimate, low=mean.low, high=mean.high))
    return bars


def _short(found: dict[str, Any]) -> dict[str, Any]:
    """A seed with means in the place of episodes."""
    means = {name: {**found[name], "late": float(np.mean(found[name]["late"]))} for name in ("free", "held")}
    return {**found, **means}


def pair(seed: int, iterations: int) -> dict[str, Any]:
    """Trains a seed without a limit, then within one that is a share of what was late: `limit`, `free`, `held`."""
    free = one(seed, iterations, None)
    limit = SHARE * float(np.mean(free["late"]))
    return {"seed": seed, "limit": limit, "free": free, "held": one(seed, iterations, limit)}


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
    half, end = (PLAYED * STEPS * count for count in (iterations // 2, iterations))
    # Small steps in the end: where the policy stops is where it has been for a while.
    algorithm = algorithm_config(config).training(lr=[[0, LR], [half, LR], [end, LR / 10]]).build_algo()
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
    found = {"late": late.tolist(), "mean_return": float(returns.mean())}
    return {**found, "multipliers": [round(m, 4) for m in multipliers], "costs": [round(c, 3) for c in costs]}


def held_out(policy: Any) -> tuple[Any, Any]:
    """What was late, and what was earned, in episodes nobody was trained on."""
    from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
    from policies.rollout import play

    task = AllocationTask.model_validate(TASK)
    env = AllocationEnv(AllocationConfig.model_validate(ENV), WORLDS, task=task)
    played = play(env, policy, task, seed=SEED, episodes_per_world=EACH)
    return played.metrics[f"cost_{COST}"], played.returns
