"""The beer game under three kinds of demand, beside tuned base-stock and people, with and without collaboration.

Under independent demand base-stock levels are optimal (Clark and Scarf 1960), under the classic step and where demand
goes on from week to week (AR(1)) they are not: who follows the forecast can do better. Collaboration passes what
customers asked for upstream, to all nodes; else each sees what it was asked for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import mean_interval, seeds_interval

DEMANDS: dict[str, dict[str, Any]] = {
    "independent": {"level": 8, "kind": "poisson"},
    "step": {"level": 4, "kind": "fixed", "shocks": [{"step": 4, "factor": 2}]},
    "ar1": {"level": 8, "kind": "normal", "cv": 0.3, "rho": 0.9},
}
TASK = {"max_steps": 52}
"""A year."""
REACH = {"reach": 4.0}
ALONE = {"around": "forecast", "collaboration": False}
TOGETHER = {"around": "forecast", "collaboration": True}
STEPS = {
    "runners.worlds": 16,
    "pathwise.lr": 0.003,
    "pathwise.half": 100,
    "network.initial_log_std": -4.0,
}
"""Of every team. Where demand is certain costs have sharp kinks: one step a rollout, little tried beside them."""
SEED, WORLDS = 50_000_001, 256
BULLWHIP = "bullwhip_manufacturer"


def run(
    *, seeds: int = 3, iterations: int = 250, workers: int = 2, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Trains a team for each demand, and plays everybody in the same worlds.

    Args:
        seeds: Runs of each, from seed 0 on.
        iterations: Iterations of each, of 16 worlds and a year.
        workers: Processes.
        progress: Called with a line after each part.

    Returns:
        Costs over those of tuned base-stock, and what collaboration saves in cost and bullwhip where demand goes on.
    """
    runs: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        files = {name: _network(Path(folder), name, demand) for name, demand in DEMANDS.items()}
        parts = [partial(_rules, name, file, {}) for name, file in files.items()]
        parts += [partial(_rules, "ar1", files["ar1"], setting) for setting in (ALONE, TOGETHER)]
        for seed in range(seeds):
            parts += [partial(_learner, name, file, {}, seed, iterations) for name, file in files.items()]
            parts += [
                partial(_learner, "ar1", files["ar1"], setting, seed, iterations) for setting in (ALONE, TOGETHER)
            ]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            for done in [pool.submit(part) for part in parts]:
                runs.append(done.result())
                shown = {name: round(float(np.mean(each["cost"])), 1) for name, each in runs[-1]["costs"].items()}
                progress(f"{runs[-1]['demand']} {runs[-1]['setting']}: {shown}")
    bars = [
        bar for name in DEMANDS for bar in _bars(name, [r for r in runs if r["demand"] == name and not r["setting"]])
    ]
    return BenchmarkResult([*bars, *_collaboration([r for r in runs if r["setting"]])], [_means(r) for r in runs])


def _bars(demand: str, runs: Sequence[dict[str, Any]]) -> list[Bar]:
    """Costs over those of tuned base-stock."""
    rules = {name: np.mean(each["cost"]) for r in runs if "seed" not in r for name, each in r["costs"].items()}
    ratios = [np.mean(r["costs"]["learned"]["cost"]) / rules["tuned"] for r in runs if "seed" in r]
    found = seeds_interval(ratios)
    goal = 1.05 if demand == "independent" else 1.0
    title = f"{demand}: learned over tuned base-stock, cost"
    bars = [Bar(title, found.estimate, goal, at_most=True, low=found.low, high=found.high)]
    others = [name for name in rules if name != "tuned"]
    return [*bars, *(Bar(f"{demand}: {name}", float(rules[name] / rules["tuned"])) for name in others)]


def _collaboration(runs: Sequence[dict[str, Any]]) -> list[Bar]:
    """What passing demand upstream saves teams that order up to their forecasts, world by world."""
    bars = []
    for team in ("newsvendor", "learned"):
        for what in ("cost", "bullwhip"):
            alone, together = (
                np.mean(
                    [r["costs"][team][what] for r in runs if r["setting"] == setting and team in r["costs"]], axis=0
                )
                for setting in (ALONE, TOGETHER)
            )
            saved = mean_interval((alone - together) / alone.mean())
            title = f"ar1, collaboration of a {team} team: {what} saved"
            bars.append(Bar(title, saved.estimate, 0.0, low=saved.low, high=saved.high))
    return bars


def _means(run: dict[str, Any]) -> dict[str, Any]:
    """A run with means over worlds."""
    costs = {name: {what: float(np.mean(each[what])) for what in each} for name, each in run["costs"].items()}
    return {**run, "costs": costs}


def _network(folder: Path, name: str, demand: dict[str, Any]) -> str:
    """The beer game with another demand, as a file."""
    from envs.supply_chain.files import FOLDER

    data = yaml.safe_load((FOLDER / "beer_game.yaml").read_text())
    data["name"] = f"beer_{name}"
    data["nodes"]["retailer"]["sells"]["beer"]["demand"] = demand
    file = folder / f"beer_{name}.yaml"
    file.write_text(yaml.safe_dump(data))
    return str(file)


def _rules(demand: str, file: str, setting: dict[str, Any]) -> dict[str, Any]:
    from policies.heuristics.supply_chain import RULES

    env = _env(file, setting)
    rules = {name: make for name, make in RULES.items() if name != "capped"}
    if setting:
        rules = {"newsvendor": rules["newsvendor"]}
    return {"demand": demand, "setting": setting, "costs": {name: _cost(env, make()) for name, make in rules.items()}}


def _learner(demand: str, file: str, setting: dict[str, Any], seed: int, iterations: int) -> dict[str, Any]:
    """Trains once."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    values = {
        "curriculum": None,
        "env": {"networks": [file], "longest_delay": 0, **REACH, **setting},
        "task": TASK,
        "runners.rollout_length": TASK["max_steps"],
        **STEPS,
        "seed": seed,
        "evaluation.interval": 0,
        "tracking.enabled": False,
    }
    algorithm = algorithm_config(load("supply_chain", values=values)).build_algo()
    try:
        for _ in range(iterations):
            algorithm.train()
        costs = {"learned": _cost(_env(file, setting), algorithm.as_policy())}
        return {"demand": demand, "setting": setting, "seed": seed, "costs": costs}
    finally:
        algorithm.stop()


def _env(file: str, setting: dict[str, Any]) -> Any:
    from envs.supply_chain import SupplyChainEnv, SupplyConfig

    return SupplyChainEnv(SupplyConfig.model_validate({"networks": (file,), **REACH, **setting}), WORLDS)


def _cost(env: Any, policy: Any) -> dict[str, list[float]]:
    """What the whole chain pays in a year, and the brewery's bullwhip, world by world."""
    from envs.supply_chain import SupplyTask
    from policies.rollout import play

    played = play(env, policy, SupplyTask.model_validate(TASK), seed=SEED)
    agents = sum(group.size for group in env.groups.values())
    return {"cost": (-played.returns * env.money * agents).tolist(), "bullwhip": played.metrics[BULLWHIP].tolist()}
