"""What is learned on the three supply-chain stages, beside rules, planners and what nobody exceeds, in the same worlds.

Everybody sees the same: the goods, and forecasts by exponential smoothing. Planners solve linear programs of the coming
steps at every step, and beyond that know how demand is spread; the bound is the optimum of who knows all that comes.
Each seed is trained on one stage alone; those of the second are also played on a network that they never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import mean_interval, seeds_interval

ITERATIONS = {"small": 100, "disrupted": 80, "large": 60}
SEED = 40_000_001
UNSEEN = ("unfamiliar_1", "unfamiliar_2")
"""What policies of the second stage are played on beside: with its disruptions, and with none."""


def run(
    *, seeds: int = 3, worlds: int = 256, planned: int = 12, workers: int = 2, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Trains, plans and plays.

    Args:
        seeds: Runs on each stage, from seed 0 on.
        worlds: Worlds that rules and learners play.
        planned: The first of them, which planners play and the bound is found for.
        workers: Processes.
        progress: Called with a line after each part.

    Returns:
        For each stage how far everybody is below the bound, as a share of it, and by how much the learners' mean
        exceeds the strongest other policy's.
    """
    from envs.supply_chain import SupplyTask
    from rllib_configs.overrides import load
    from rllib_configs.stages import stages_of

    stages = {stage.name: stage.task for stage in stages_of(load("supply_chain")).stages}
    parts: list[partial[dict[str, Any]]] = []
    for name, task in reversed(stages.items()):  # what takes longest first
        assert isinstance(task, SupplyTask)
        parts += [partial(_planner, name, task, planned, scenarios) for scenarios in (10, 0)]
        parts += [partial(_learner, name, task, worlds, seed) for seed in range(seeds)]
        parts += [partial(_rules, name, task, worlds), partial(_bound, name, task, planned)]
    parts += [partial(_rules, name, task, worlds) for name, task in _unfamiliar(stages["disrupted"]).items()]
    runs: list[dict[str, Any]] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(part) for part in parts]):
            found = done.result()
            runs.append(found)
            shown = {name: round(float(np.mean(returns)), 2) for name, returns in found["returns"].items()}
            progress(f"{found['stage']}: {shown}")
    bars = [bar for name in stages for bar in _bars(name, [r for r in runs if r["stage"] == name], planned)]
    return BenchmarkResult([*bars, *_unseen(runs)], sorted(runs, key=lambda r: (r["stage"], str(r["returns"].keys()))))


def _bars(stage: str, runs: Sequence[dict[str, Any]], planned: int) -> list[Bar]:
    """How far everybody is below the bound, and the learners above the strongest."""
    others = {name: np.array(each) for r in runs if r.get("seed") is None for name, each in r["returns"].items()}
    bound = others.pop("bound")
    learned = np.array([r["returns"]["learned"] for r in runs if r.get("seed") is not None])
    gaps = seeds_interval([1 - each[:planned].mean() / bound.mean() for each in learned])
    found = [Bar(f"{stage}: learned, below the bound", gaps.estimate, 0.15, at_most=True, low=gaps.low, high=gaps.high)]
    for name, each in others.items():
        found.append(Bar(f"{stage}: {name}, below the bound", 1 - each[:planned].mean() / bound.mean()))
    for kind, rivals in (
        ("rule", {n: r for n, r in others.items() if len(r) > planned}),
        ("planner", {n: r for n, r in others.items() if len(r) == planned}),
    ):
        best = max(rivals, key=lambda name: float(rivals[name].mean()))
        gain = mean_interval(learned.mean(axis=0)[: len(rivals[best])] - rivals[best])
        found.append(
            Bar(f"{stage}: learned over {best}, the best {kind}", gain.estimate, 0.0, low=gain.low, high=gain.high)
        )
    return found


def _unseen(runs: Sequence[dict[str, Any]]) -> list[Bar]:
    """The scores on networks that nobody was trained on."""
    found = []
    for name in next(r["unseen"] for r in runs if "unseen" in r):
        (rules,) = (r["returns"] for r in runs if r["stage"] == name)
        naive, informed = np.mean(rules["as_sold"]), np.mean(rules["tuned"])
        score = seeds_interval(
            [(np.mean(r["unseen"][name]) - naive) / (informed - naive) for r in runs if "unseen" in r]
        )
        title = f"trained on disrupted, played on {name}, never seen: score"
        found.append(Bar(title, score.estimate, 0.5, low=score.low, high=score.high))
    return found


def _unfamiliar(stage: Any) -> dict[str, Any]:
    """Tasks on the networks that nobody was trained on, with a stage's disruptions and without."""
    alike = {name: stage.model_copy(update={"network": name}) for name in UNSEEN}
    calm = {name: type(stage)(max_steps=stage.max_steps, network=name) for name in UNSEEN}
    return {f"{name}, disrupted": task for name, task in alike.items()} | calm


def _rules(stage: str, task: Any, worlds: int) -> dict[str, Any]:
    from policies.heuristics.supply_chain import RULES

    return {
        "stage": stage,
        "returns": {name: _played(task, make(), worlds) for name, make in RULES.items()},
    }


def _planner(stage: str, task: Any, worlds: int, scenarios: int) -> dict[str, Any]:
    from policies.heuristics.supply_chain.planners import RollingPlan

    plan = RollingPlan(scenarios)
    return {"stage": stage, "returns": {plan.name: _played(task, plan, worlds)}}


def _bound(stage: str, task: Any, worlds: int) -> dict[str, Any]:
    from policies.heuristics.supply_chain.hindsight import hindsight

    env = _env(task, worlds)
    env.reset(SEED)
    return {"stage": stage, "returns": {"bound": hindsight(env, range(worlds)).tolist()}}


def _learner(stage: str, task: Any, worlds: int, seed: int) -> dict[str, Any]:
    """Trains once."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    networks = [task.network, *(UNSEEN if stage == "disrupted" else ())]
    values = {
        "curriculum": None,
        "env": {"networks": networks, "longest_delay": 2},
        "task": task.model_dump(exclude={"name"}),
        "seed": seed,
        "evaluation.interval": 0,
        "tracking.enabled": False,
    }
    algorithm = algorithm_config(load("supply_chain", values=values)).build_algo()
    try:
        for _ in range(ITERATIONS[stage]):
            algorithm.train()
        policy = algorithm.as_policy()
        found = {"stage": stage, "seed": seed, "returns": {"learned": _played(task, policy, worlds, networks)}}
        if stage == "disrupted":
            others = _unfamiliar(task)
            found["unseen"] = {name: _played(other, policy, worlds, networks) for name, other in others.items()}
        return found
    finally:
        algorithm.stop()


def _played(task: Any, policy: Any, worlds: int, networks: Sequence[str] = ()) -> list[float]:
    """Returns in the benchmark's worlds."""
    from policies.rollout import play

    env = _env(task, worlds, networks)
    found: list[float] = play(env, policy, task, seed=SEED).returns.tolist()
    return found


def _env(task: Any, worlds: int, networks: Sequence[str] = ()) -> Any:
    from envs.supply_chain import SupplyChainEnv, SupplyConfig

    return SupplyChainEnv(SupplyConfig(networks=tuple(networks or [task.network]), longest_delay=2), worlds, task=task)
