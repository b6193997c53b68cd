"""Every algorithm in every domain, each for the same few minutes: what works where, and what does not.

A cell is an algorithm, a domain and a seed, trained through the domain's curriculum with the settings of its YAML, and
then played on the held-out scenarios of the domain's suite. Budgets are minutes of CPU time, so that they mean the
same on a busy machine. A cell is a file of its own in `results/matrix`: the same command goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult, kept, machine
from benchmarks.standings import SEED, all_rules
from evaluation.statistics import mean_interval
from policies.base import Policy

FOLDER = Path(__file__).with_name("results") / "matrix"
DOMAINS = ("trading", "supply_chain", "resource_allocation")
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {}),
    "mappo": ("ppo", {"network.central_critic": True, "network.share_trunk": False}),
    "recurrent_ppo": ("ppo", {"network.memory": "gru"}),
    "sac": ("sac", {}),
    "maddpg": ("maddpg", {}),
    "qmix": ("qmix", {}),
}
"""By name: the algorithm, and what differs from its YAML."""


def run(
    *,
    domains: Sequence[str] = DOMAINS,
    algorithms: Sequence[str] = tuple(CELLS),
    seeds: Sequence[int] = (0, 1, 2),
    minutes: float = 5.0,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains what is missing, and sums up what is there.

    Args:
        domains: Names of domains.
        algorithms: Names in `CELLS`.
        seeds: Training seeds of each.
        minutes: CPU time of each training [min], evaluations left out.
        progress: Called with a line after each cell.

    Returns:
        For each algorithm in each domain the mean score over seeds and held-out scenarios (0 the naive policy, 1 the
        informed one), with its interval over worlds, held to 0; the untrained policy's, and that of the strongest rule
        beside the informed one.
    """
    bars = []
    for domain in domains:
        for name in algorithms:
            mode = _mode(domain, name)
            rules = kept(FOLDER / f"{domain}_rules_{mode}.json", {"action_mode": mode}, partial(_rules, domain, name))
            cells = []
            for seed in seeds:
                make = partial(learn, domain, name, seed, minutes)
                cells.append(kept(FOLDER / f"{domain}_{name}_{seed}.json", {"minutes": minutes}, make))
                progress(f"{domain}, {name}, seed {seed}: {_score(cells[-1:], rules, 'learned')[0]:.3f}")
            mean, low, high = _score(cells, rules, "learned")
            bars.append(Bar(f"{domain}, {name}: score", mean, 0.0, low=low, high=high))
            bars.append(Bar(f"{domain}, {name}: untrained", _score(cells, rules, "untrained")[0]))
            others = {rule: _score([rules], rules, rule)[0] for rule in rules["names"] if rule != rules["informed"]}
            strongest = max(others, key=lambda rule: others[rule])
            bars.append(Bar(f"{domain}, {name}: {strongest}, the strongest rule", others[strongest]))
    return BenchmarkResult(bars, {"minutes": minutes, "seeds": list(seeds), "cells": f"results/{FOLDER.name}"})


def learn(domain: str, name: str, seed: int, minutes: float) -> dict[str, Any]:
    """One cell: returns of what was learned and of what it began with, by held-out scenario and world."""
    from tune.trainable import algorithm_config

    learner, config = CELLS[name][0], _config(domain, name, seed)
    algorithm = algorithm_config(config).build_algo()
    try:
        untrained = _played(domain, config, {"untrained": algorithm.as_policy()})
        began, wall, iterations = time.process_time(), time.perf_counter(), 0
        result: Mapping[str, Any] = {}
        while time.process_time() - began < 60 * minutes:
            result = algorithm.train()
            iterations += 1
        wall = time.perf_counter() - wall
        learned = _played(domain, config, {"learned": algorithm.as_policy()})
    finally:
        algorithm.stop()
    return {
        "domain": domain,
        "algorithm": name,
        "seed": seed,
        "returns": {scenario: untrained[scenario] | learned[scenario] for scenario in learned},
        "iterations": iterations,
        "env_steps": int(result["env_runners"]["num_env_steps_sampled_lifetime"]),
        "stage": str(result.get("curriculum/stage_name", "")),
        "cpu_minutes": minutes,
        "wall_minutes": round(wall / 60, 1),
        "machine": machine(),
        "config": config.model_dump(mode="json", include={"env", "network", "runners", learner}),
    }


def _config(domain: str, name: str, seed: int = 0) -> Any:
    from rllib_configs.overrides import load

    learner, changes = CELLS[name]
    return load(domain, learner, values={"seed": seed, "evaluation.interval": 0, "tracking.enabled": False, **changes})


def _mode(domain: str, name: str) -> str:
    """How the agents of a cell act: rules play as they do."""
    return str(getattr(_config(domain, name).env_config(), "action_mode", "any"))


def _rules(domain: str, name: str) -> dict[str, Any]:
    """What all rules return in the worlds of a cell, and which of them score 0 and 1."""
    from policies.heuristics import baselines

    sticks, players = baselines(domain), {rule: make() for rule, make in all_rules(domain).items()}
    returns = _played(domain, _config(domain, name), players)
    names = sorted(set.intersection(*(set(played) for played in returns.values())))
    return {"naive": sticks.naive, "informed": sticks.informed, "names": names, "returns": returns}


def _played(domain: str, config: Any, players: Mapping[str, Policy]) -> dict[str, dict[str, list[float]]]:
    """Returns by held-out scenario and policy, of each world."""
    from evaluation.worlds import SuiteWorlds
    from policies.rollout import play
    from tune.suites import suite_of

    worlds = SuiteWorlds(domain, config.env_config())
    found: dict[str, dict[str, list[float]]] = {}
    for scenario in suite_of(config).scenarios:
        if scenario.kind != "held_out":
            continue
        env = worlds.of(scenario)
        each = -(-scenario.episodes // env.num_worlds)
        found[scenario.name] = {
            name: np.round(
                play(env, worlds.fit(policy, env), scenario.tasks[0], seed=SEED, episodes_per_world=each).returns, 6
            ).tolist()
            for name, policy in players.items()
            if name not in scenario.exclude
        }
    return found


def _score(cells: Sequence[Mapping[str, Any]], rules: Mapping[str, Any], who: str) -> tuple[float, float, float]:
    """Mean score of somebody over seeds and scenarios, and its interval over worlds, in which all have played."""
    means, margins = [], []
    for scenario, played in rules["returns"].items():
        naive, informed = np.array(played[rules["naive"]]), np.array(played[rules["informed"]])
        mine = np.mean([cell["returns"][scenario][who] for cell in cells], axis=0)
        interval = mean_interval((mine - naive) / (informed.mean() - naive.mean()))
        means.append(interval.estimate)
        margins.append((interval.estimate - interval.low, interval.high - interval.estimate))
    below, above = np.sqrt(np.square(margins).sum(axis=0)) / len(means)  # scenarios are played in worlds of their own
    mean = float(np.mean(means))
    return mean, mean - float(below), mean + float(above)
