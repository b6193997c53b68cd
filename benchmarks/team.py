"""A team of a hundred traders in one market learns: its curve, over several seeds, on held-out worlds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult, median_bar
from evaluation.statistics import seeds_interval


def run(
    *,
    agents: int = 100,
    worlds: int = 8,
    iterations: int = 60,
    every: int = 5,
    seeds: int = 3,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains a large team on the last stage of the trading curriculum, once a seed.

    Args:
        agents: Traders in each market.
        worlds: Markets stepped together.
        iterations: Training iterations.
        every: Iterations between evaluations, on seeds that are never trained on.
        seeds: Runs.
        progress: Called with a line after each evaluation.

    Returns:
        The score at the end, mean over seeds with its 95% interval, whose lower end must be above the untrained team's
        mean and above 0 (cash); agent-steps a second of whole iterations; and in `runs` each seed's curve.
    """
    curves = [
        train(agents=agents, worlds=worlds, iterations=iterations, every=every, seed=seed, progress=progress)
        for seed in range(seeds)
    ]
    last = seeds_interval([curve["scores"][-1] for curve in curves])
    first = float(np.mean([curve["scores"][0] for curve in curves]))
    score = Bar(f"score of {agents} traders, mean over {seeds} seeds", last.estimate, low=last.low, high=last.high)
    bars = [
        score,
        Bar("lower end of that score", last.low, max(0.0, first)),
        Bar("score of the untrained team", first),
        median_bar("agent-steps a second, whole iterations", [curve["agent_steps_per_second"] for curve in curves]),
    ]
    return BenchmarkResult(bars, curves)


def train(
    *, agents: int, worlds: int, iterations: int, every: int, seed: int, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Trains one team.

    Returns:
        `agent_steps`, `scores`, `lows` and `highs` of its evaluations, and `agent_steps_per_second`.
    """
    from curriculum.config import load_curriculum
    from rllib_configs.overrides import load
    from tune.launch import ray_for
    from tune.trainable import algorithm_config

    master = load_curriculum("trading").stages[-1].task
    config = load(
        "trading",
        values={
            "seed": seed,
            "curriculum": None,
            "task": master.model_dump(mode="json"),
            "env.num_agents": agents,
            "runners.worlds": worlds,
            "evaluation.interval": every,
            "evaluation.episodes": 64,
            "tracking.enabled": False,
        },
    )
    with ray_for(config):
        algorithm = algorithm_config(config).build_algo()
        began, evaluating = time.perf_counter(), 0.0
        result: dict[str, Any] = {}
        for iteration in range(1, iterations + 1):
            result = algorithm.train()
            evaluating += result.get("eval_seconds", 0.0)
            if iteration % every == 0:
                progress(f"seed {seed}  iteration {iteration}/{iterations}  score {result['eval_score']:.3f}")
        seconds = time.perf_counter() - began - evaluating
        history = next(c for c in algorithm.callbacks if hasattr(c, "history")).history
        algorithm.stop()
    return {
        "seed": seed,
        "agent_steps": [point.env_steps * agents for point in history],
        "scores": [point.score.estimate for point in history],
        "lows": [point.score.low for point in history],
        "highs": [point.score.high for point in history],
        "agent_steps_per_second": history[-1].env_steps * agents / seconds,
    }
