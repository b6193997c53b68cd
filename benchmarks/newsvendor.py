"""What a memory is worth where demand has to be found out, beside what can be had with one and without, exactly.

Costs are of worlds nobody trained on: the exact cost of Bayes' rule, and what a policy pays more in the same worlds
than that rule does, so that the luck of the draw, which weighs more than what is measured, cancels out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import seeds_interval

MEMORIES = ("gru", "none")
SEED = 20_000_001
"""Seed of the worlds that are played in evaluations."""
ALLOWED = 1.05
"""What a network that remembers may cost over Bayes' rule."""


def run(
    *,
    seeds: Sequence[int] = (0, 1, 2),
    iterations: int | None = None,
    every: int = 50,
    worlds: int = 4096,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains networks with memory and without, as the domain's YAML says.

    Args:
        seeds: Seeds of each.
        iterations: Training iterations; None: as many as the YAML says.
        every: Iterations between evaluations.
        worlds: Worlds that are played in one.
        progress: Called with a line after each evaluation.

    Returns:
        Cost a period with memory and without, mean over seeds with its 95% interval; the highest seed's with memory;
        and the exact costs of all rules, of which that by the last period alone is the least without memory.
    """
    from envs.newsvendor import NewsvendorTask
    from policies.heuristics.newsvendor import expected_costs

    exact = {name: float(costs.mean()) for name, costs in expected_costs(NewsvendorTask()).items()}
    runs = [
        learn(memory, seed, iterations, every, worlds, exact["bayes"], progress)
        for memory in MEMORIES
        for seed in seeds
    ]
    last = {memory: [run["costs"][-1] for run in runs if run["memory"] == memory] for memory in MEMORIES}
    most = ALLOWED * exact["bayes"]
    bars = []
    for memory, goal in (("gru", most), ("none", None)):
        cost = seeds_interval(last[memory])
        bars.append(Bar(f"memory {memory}", cost.estimate, goal, at_most=True, low=cost.low, high=cost.high))
    bars.append(Bar("memory gru, highest seed", max(last["gru"]), most, at_most=True))
    bars += [Bar(f"{name}, exactly", cost) for name, cost in exact.items()]
    return BenchmarkResult(bars, runs)


def learn(
    memory: str,
    seed: int,
    iterations: int | None,
    every: int,
    worlds: int,
    bayes: float,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """One training: cost a period after every so many iterations, and after the last."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    values = {"seed": seed, "network.memory": memory, "evaluation.interval": 0, "tracking.enabled": False}
    config = load("newsvendor", values=values)
    total = iterations or config.stop.iterations
    assert total is not None
    began = time.perf_counter()
    algorithm = algorithm_config(config).build_algo()
    try:
        taken: list[int] = []
        costs: list[float] = []
        for iteration in range(1, total + 1):
            algorithm.train()
            if iteration % every == 0 or iteration == total:
                taken.append(iteration * config.runners.worlds * config.runners.rollout_length)
                costs.append(bayes + excess(algorithm, worlds))
                progress(f"memory {memory}, seed {seed}: {taken[-1] / 1e6:.2f} M steps, {costs[-1]:.3f} a period")
    finally:
        algorithm.stop()
    return {
        "memory": memory,
        "seed": seed,
        "steps": taken,
        "costs": costs,
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "config": config.model_dump(mode="json", include={"env", "task", "network", "runners", "ppo"}),
    }


def excess(algorithm: Any, worlds: int) -> float:
    """What a period costs the policy as it stands more than Bayes' rule, in the same worlds."""
    from envs.newsvendor import NewsvendorTask
    from policies.heuristics import baselines
    from policies.rollout import play

    env = algorithm.domain.env(algorithm.config.env_config, worlds)
    policies = (algorithm.as_policy(), baselines("newsvendor").policies["bayes"]())
    learned, best = (play(env, policy, NewsvendorTask(), seed=SEED).metrics["period_cost"] for policy in policies)
    return float(np.mean(learned - best))
