"""How fair what is learned is, beside the fairest allocation there is, among services that differ in what they need.

A network sees how averse to inequality it is to be, and is trained on all aversions together; every episode is another
mix of tenants. Each step is judged by itself, by the equally distributed equivalent of the tenants' service.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import seeds_interval
from policies.base import Policy

ALPHAS = (0.0, 1.0, 2.0)
ENV: dict[str, Any] = {"clusters": ["static"], "tenants": 8, "slots": 1, "start": 0.25, "action_mode": "continuous"}
TASK: dict[str, Any] = {"load": 3.0, "max_steps": 20, "over": "step", "worth": 0.0}
VALUES: dict[str, Any] = {
    "curriculum": None,
    "env": ENV,
    "task": {**TASK, "drawn": [{"field": "alpha", "values": list(ALPHAS)}]},
    "runners.worlds": 64,
    "runners.rollout_length": 20,
    "ppo.gamma": 0.0,
    "ppo.lr": 0.001,
    "network.initial_log_std": -2.3,
    "evaluation.interval": 0,
    "tracking.enabled": False,
}
"""What differs from the settings that come with the domain: a step is judged by itself, nothing ahead counts."""
WORLDS, SEED = 128, 60_000_001


def run(
    *, seeds: int = 5, iterations: int = 400, workers: int = 2, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Trains, and measures what everybody's allocation is worth.

    Args:
        seeds: Runs, from seed 0 on.
        iterations: Iterations of each, of 64 worlds times 20 steps.
        workers: Processes.
        progress: Called with a line after each part.

    Returns:
        Equivalents over the optimum's: the learners' means with 95% intervals over seeds, held to 0.95; the untrained
        network's and an equal split's, held to 0.75 at most; and the other rules'.
    """
    from policies.heuristics.resource_allocation import RULES

    best = optimum()
    progress(f"optimum: {best}")
    rules = {name: shares(make(), best) for name, make in RULES.items()}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = []
        for found in pool.map(partial(one, iterations=iterations, best=best), range(seeds)):
            runs.append(found)
            progress(f"seed {found['seed']}: {found['learned']}, untrained {found['untrained']}")
    bars: list[Bar] = []
    for alpha in best:
        learned, fresh = (seeds_interval([each[what][alpha] for each in runs]) for what in ("learned", "untrained"))
        title = f"alpha {alpha}: learned over the optimum, mean of {seeds} seeds"
        bars.append(Bar(title, learned.estimate, 0.95, low=learned.low, high=learned.high))
        title = f"alpha {alpha}: the same, untrained"
        bars.append(Bar(title, fresh.estimate, 0.75, at_most=True, low=fresh.low, high=fresh.high))
        for name, each in rules.items():
            goal = 0.75 if name == "equal_split" else None
            bars.append(Bar(f"alpha {alpha}: {name}", each[alpha], goal, at_most=goal is not None))
    return BenchmarkResult(bars, {"optimum": best, "rules": rules, "seeds": runs})


def optimum() -> dict[str, float]:
    """The mean equivalent of the fairest allocation, by aversion."""
    from policies.heuristics.resource_allocation.optimum import Fairest

    return {f"{alpha:g}": float(_equivalents(Fairest(), alpha, steps=1).mean()) for alpha in ALPHAS}


def shares(policy: Policy, best: dict[str, float]) -> dict[str, float]:
    """A policy's mean equivalent over the optimum's, by aversion."""
    return {
        name: float(_equivalents(policy, float(name), steps=TASK["max_steps"]).mean() / most)
        for name, most in best.items()
    }


def _equivalents(policy: Policy, alpha: float, steps: int) -> Any:
    """Of each world, mean over steps; the tenants of a world are the same however long it is played."""
    from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
    from policies.rollout import play

    task = AllocationTask.model_validate({**TASK, "alpha": alpha, "max_steps": steps})
    env = AllocationEnv(AllocationConfig.model_validate(ENV), WORLDS, task=task)
    return np.asarray(play(env, policy, task, seed=SEED).returns) / steps


def one(seed: int, iterations: int, best: dict[str, float]) -> dict[str, Any]:
    """Trains once."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    algorithm = algorithm_config(load("resource_allocation", values={**VALUES, "seed": seed})).build_algo()
    try:
        untrained = shares(algorithm.as_policy(), best)
        for _ in range(iterations):
            algorithm.train()
        return {"seed": seed, "untrained": untrained, "learned": shares(algorithm.as_policy(), best)}
    finally:
        algorithm.stop()
