"""Whether PPO learns the same on RLlib's own path and on ours: equal hyperparameters, equal networks, several seeds.

RLlib runs twice: as it comes, and with the one fault mended that `benchmarks.standardisation` describes. The mended one
computes what ours does, so these two must agree; the other shows what the fault costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from algorithms.algorithm import BatchedAlgorithm
from benchmarks.harness import Bar, BenchmarkResult
from benchmarks.setups import batched, flat_network, stock
from benchmarks.standardisation import MendedLearner
from evaluation.statistics import mean_interval

HIDDEN = (64, 64)
ENVS = 16
STEPS = 64
OURS, MENDED, STOCK = "ours", "RLlib, advantages mended", "RLlib"
PATHS = (OURS, MENDED, STOCK)


@dataclass(frozen=True)
class Problem:
    """Something small to learn.

    Attributes:
        domain: Name of the domain.
        env_config: Fields of its config, and `task`.
        agents: Agents in a world.
        iterations: Iterations of `ENVS * STEPS` env steps.
        training: Hyperparameters that differ from the usual.
    """

    domain: str
    env_config: dict[str, Any]
    agents: int
    iterations: int
    training: dict[str, Any]


PROBLEMS = {
    "cue": Problem(
        "cue",
        {"num_agents": 2, "num_entities": 2, "task": {"entities": 2, "max_steps": 16}},
        agents=2,
        iterations=30,
        training={"lr": 2e-3, "gamma": 0.5, "minibatch_size": 256},
    ),
    "trading": Problem(
        "trading",
        {
            "num_agents": 2,
            "symbols": ("A", "B"),
            "task": {"max_steps": 64, "market_regime": "bull", "drift_scale": 4.0, "volatility_scale": 0.5},
        },
        agents=2,
        iterations=30,
        training={"lr": 1e-3, "gamma": 0.9, "minibatch_size": 256},
    ),
}


def run(
    *,
    seeds: int = 8,
    iterations: int | None = None,
    problems: tuple[str, ...] = ("cue", "trading"),
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains both paths on each problem from each seed.

    Args:
        seeds: Runs of each path.
        iterations: Iterations of each run; by default the problem's own.
        problems: Names of problems.
        progress: Called with a line after each run.

    Returns:
        For each problem and path the mean return of an agent over the last fifth of training, with its 95% bootstrap
        interval over seeds; and the gap between the intervals of ours and the mended, which must not be positive.
    """
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )  # fmt: skip
    bars: list[Bar] = []
    curves: dict[str, Any] = {}
    try:
        for name in problems:
            problem = PROBLEMS[name]
            found: dict[str, list[list[float]]] = {path: [] for path in PATHS}
            for seed in range(seeds):
                for path in PATHS:
                    found[path].append(curve(problem, path, seed, iterations or problem.iterations))
                    progress(f"{name}, seed {seed}, {path}: {final(found[path][-1]):.3f}")
            curves[name] = found
            bars += bars_of(name, found)
    finally:
        ray.shutdown()
    return BenchmarkResult(bars, curves)


def curve(problem: Problem, path: str, seed: int, iterations: int) -> list[float]:
    """Mean return of an agent in each iteration of one run."""
    if path == OURS:
        config = batched(
            problem.domain,
            problem.env_config,
            worlds=ENVS,
            steps=STEPS,
            network=flat_network(HIDDEN),
            seed=seed,
            **problem.training,
        )
    else:
        config = stock(
            problem.domain,
            problem.env_config,
            envs=ENVS,
            env_steps=ENVS * STEPS,
            hidden=HIDDEN,
            seed=seed,
            **problem.training,
        )
        if path == MENDED:
            config.training(learner_class=MendedLearner)
        # RLlib's mean is over so many episodes, ours over those of the iteration.
        config.reporting(metrics_num_episodes_for_smoothing=ENVS * STEPS // problem.env_config["task"]["max_steps"])
    algorithm = config.build_algo()
    # RLlib sums an episode's return over the agents, ours is a mean.
    share = 1 if isinstance(algorithm, BatchedAlgorithm) else problem.agents
    try:
        results = [algorithm.train() for _ in range(iterations)]
    finally:
        algorithm.stop()
    return [float(result["env_runners"]["episode_return_mean"]) / share for result in results]


def final(returns: list[float]) -> float:
    """Mean over the last fifth of a run."""
    return float(np.mean(returns[-max(1, len(returns) // 5) :]))


def bars_of(name: str, curves: dict[str, list[list[float]]]) -> list[Bar]:
    """What one problem comes to."""
    found = {path: mean_interval([final(returns) for returns in runs]) for path, runs in curves.items()}
    bars = [
        Bar(f"{name}: final return, {path}", interval.estimate, low=interval.low, high=interval.high)
        for path, interval in found.items()
    ]
    ours, mended = found[OURS], found[MENDED]
    gap = max(ours.low, mended.low) - min(ours.high, mended.high)
    return [*bars, Bar(f"{name}: gap between ours and the mended (negative: they overlap)", gap, 0.0, at_most=True)]
