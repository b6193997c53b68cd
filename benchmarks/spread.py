"""Cooperative navigation by every algorithm, over several seeds, beside what others have in print.

Returns are the team's, summed over agents and steps, which is one of four scales in print (`envs.particles.spread`).
A cell, one algorithm and seed, is a file of its own in `results/spread`: the same command goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult, kept, machine
from evaluation.statistics import seeds_interval

FOLDER = Path(__file__).with_name("results") / "spread"
SEED, EPISODES, LAST = 20_000_001, 128, 10
"""Seed of the worlds that are played in evaluations, their number, and how many evaluations count, the last ones."""
CELLS: dict[str, tuple[str, dict[str, Any], float]] = {
    "qmix": ("qmix", {}, -30.0),
    "vdn": ("qmix", {"qmix.mixing": "vdn"}, -32.0),
    "maddpg": ("maddpg", {}, -36.0),
    "mappo": ("ppo", {}, -36.0),
    "sac": ("sac", {}, -40.0),
}
"""By name: the algorithm, what differs from its YAML, and the least that the mean of the last evaluations should be."""
IN_PRINT = {"qmix": -25.8, "vdn": -28.0, "mappo": -29.3, "maddpg": -33.4}
"""EPyMARL's (Papoudakis et al. 2021, table 3) in this scale: 2 M steps, on-policy 20 M."""


def run(
    *,
    algorithms: Sequence[str] = tuple(CELLS),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    steps: int = 2_000_000,
    evaluations: int = 40,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains what is missing, and sums up what is there.

    Args:
        algorithms: Names in `CELLS`.
        seeds: Seeds of each.
        steps: Env steps of each.
        evaluations: Evaluations in that time, evenly spread, on worlds that nobody trains on.
        progress: Called with a line after each evaluation.

    Returns:
        The mean over seeds of the mean of the last 10 evaluations of each algorithm, with its interval; and what the
        policies return in mpe2's own env.
    """
    bars: list[Bar] = []
    for name in algorithms:
        found = []
        for seed in seeds:
            make = partial(learn, name, seed, steps, evaluations, progress)
            found.append(kept(FOLDER / f"{name}_{seed}.json", {"steps": steps, "evaluations": evaluations}, make))
        score = seeds_interval([float(np.mean(cell["returns"][-LAST:])) for cell in found])
        bars.append(Bar(f"{name}: team return", score.estimate, CELLS[name][2], low=score.low, high=score.high))
        first = [cell["untrained"] for cell in found]
        bars.append(Bar(f"{name}: untrained", float(np.mean(first)), low=min(first), high=max(first)))
        apart = max(abs(cell["in_mpe2"] - cell["last"]) for cell in found)
        bars.append(Bar(f"{name}: the same in mpe2's own env, largest difference of a mean", apart, 0.5, at_most=True))
        if name in IN_PRINT:
            bars.append(Bar(f"{name}: in print", IN_PRINT[name]))
    bars += [Bar(f"{name}: team return", value) for name, value in rules().items()]
    return BenchmarkResult(bars, {"steps": steps, "seeds": list(seeds), "cells": f"results/{FOLDER.name}"})


def learn(name: str, seed: int, steps: int, evaluations: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """One cell: the team's return without exploration, evaluation by evaluation."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    learner, changes, _ = CELLS[name]
    values = {"seed": seed, "evaluation.interval": 0, "tracking.enabled": False, **changes}
    config = load("spread", learner, values=values)
    began = time.perf_counter()
    algorithm = algorithm_config(config).build_algo()
    try:
        taken: list[int] = []
        returns = [_evaluated(algorithm)]
        each = config.runners.worlds * config.runners.rollout_length * max(1, config.runners.num_env_runners)
        for iteration in range(1, steps // each + 1):
            algorithm.train()
            if iteration * each * evaluations // steps > len(taken):
                taken.append(iteration * each)
                returns.append(_evaluated(algorithm))
                progress(f"{name}, seed {seed}: {taken[-1] / 1e6:.2f} M steps, team return {returns[-1]:.2f}")
        last, there = _evaluated(algorithm), _in_mpe2(algorithm, config.env_config())
    finally:
        algorithm.stop()
    return {
        "algorithm": name,
        "seed": seed,
        "steps": taken,
        "untrained": returns[0],
        "returns": returns[1:],
        "last": last,
        "in_mpe2": there,
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "machine": machine(),
        "config": config.model_dump(mode="json", include={"env", "task", "network", "runners", learner}),
    }


def _evaluated(algorithm: Any) -> float:
    from envs.particles import SpreadTask
    from policies.rollout import play

    env = algorithm.domain.env(algorithm.config.env_config, EPISODES)
    found = play(env, algorithm.as_policy(), SpreadTask(), seed=SEED)
    return float(found.metrics["team_return"].mean())


def _in_mpe2(algorithm: Any, config: Any) -> float:
    """What the policy that was trained returns in mpe2's own env, in the worlds of the evaluations."""
    from benchmarks.mpe2_check import team_returns
    from envs.particles import SpreadTask

    return float(team_returns(algorithm.as_policy(), config, SpreadTask(), episodes=EPISODES, seed=SEED).mean())


def rules() -> dict[str, float]:
    """What rules return in the same worlds, in either action mode."""
    from envs.particles import SpreadConfig, SpreadEnv, SpreadTask
    from policies.heuristics import baselines
    from policies.rollout import play

    found = {}
    for mode in ("discrete", "continuous"):
        env = SpreadEnv(SpreadConfig.model_validate({"action_mode": mode}), EPISODES)
        for name, make in baselines("spread").policies.items():
            played = play(env, make(), SpreadTask(), seed=SEED)
            found[f"{name}, {mode}"] = float(played.metrics["team_return"].mean())
    return found
