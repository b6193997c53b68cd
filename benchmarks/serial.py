"""A serial system whose optimum is known: Snyder and Shen's example 6.1, learned by PPO, and by slopes.

Cost is what the whole system pays a step in the long run: after a warm-up, on worlds that nobody has trained on. Rules
and learners meet the same worlds; the optimum beside them is computed, not simulated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import seeds_interval
from policies.base import Policy

VALUES: dict[str, Any] = {
    "curriculum": None,
    "env": {"networks": ["serial"]},
    "task": {"max_steps": 100},
    "runners.worlds": 64,
    "runners.rollout_length": 50,
    "evaluation.interval": 0,
    "tracking.enabled": False,
}
"""What differs from the settings that come with the domain."""
OWN: dict[str, dict[str, Any]] = {
    "ppo": {
        "policies": "per_role",
        "ppo.minibatch": 2048,
        "ppo.gae_lambda": 0.95,
        "network.initial_log_std": -2.3,
    },
    "pathwise": {"pathwise.minibatch": 1024},
}
"""The same, by algorithm."""
WORLDS, STEPS, WARM_UP, SEED = 256, 600, 100, 30_000_001


def run(
    *, seeds: int = 5, iterations: int = 400, slopes: int = 40, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Trains, and measures what everybody costs.

    Args:
        seeds: Runs, from seed 0 on.
        iterations: Iterations of each by PPO, of 64 worlds times 50 steps.
        slopes: The same by slopes.
        progress: Called with a line after each measurement.

    Returns:
        Costs over the optimum: the learners' means with 95% intervals over seeds, held to 1.05; the untrained
        networks', held to at least 1.3; and the rules'.
    """
    from envs.supply_chain import load_network
    from policies.heuristics.supply_chain import BASELINES
    from policies.heuristics.supply_chain.clark_scarf import clark_scarf
    from policies.heuristics.supply_chain.levels import ClarkScarf

    optimum = clark_scarf(load_network("serial")).cost
    rules: dict[str, float] = {}
    for rule in (ClarkScarf(), *(make() for make in BASELINES.policies.values())):
        rules[rule.name] = cost_of(rule)
        progress(f"{rule.name}: {rules[rule.name]:.2f}, {rules[rule.name] / optimum:.3f} of the optimum")
    bars: list[Bar] = []
    runs: list[dict[str, Any]] = []
    for name, count in (("ppo", iterations), ("pathwise", slopes)):
        mine = [one(name, seed, count) for seed in range(seeds)]
        progress(f"{name}: {[round(each['cost'] / optimum, 3) for each in mine]} of the optimum")
        for title, what, goal in (("cost over the optimum", "cost", 1.05), ("the same, untrained", "untrained", 1.3)):
            share = seeds_interval([each[what] / optimum for each in mine])
            title = f"{name}: {title}, mean of {seeds} seeds"
            bars.append(Bar(title, share.estimate, goal, at_most=what == "cost", low=share.low, high=share.high))
        bars.append(Bar(f"{name}: minutes a seed, at most", max(each["minutes"] for each in mine), 20.0, at_most=True))
        runs += mine
    bars += [Bar(f"{rule}: cost over the optimum", cost / optimum) for rule, cost in rules.items()]
    return BenchmarkResult(bars, {"optimum": optimum, "rules": rules, "seeds": runs})


def one(name: str, seed: int, iterations: int) -> dict[str, Any]:
    """Trains once; returns its costs a step, trained and not, and how long it took."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    values = {**VALUES, **OWN[name], "seed": seed}
    algorithm = algorithm_config(load("supply_chain", name, values=values)).build_algo()
    try:
        untrained = cost_of(algorithm.as_policy())
        began = time.monotonic()
        for _ in range(iterations):
            algorithm.train()
        minutes = (time.monotonic() - began) / 60
        return {
            "algorithm": name,
            "seed": seed,
            "untrained": untrained,
            "cost": cost_of(algorithm.as_policy()),
            "minutes": minutes,
        }
    finally:
        algorithm.stop()


def cost_of(policy: Policy) -> float:
    """What the system pays a step on average [currency]."""
    from envs.supply_chain import SupplyChainEnv, SupplyConfig, SupplyTask

    env = SupplyChainEnv(SupplyConfig(networks=("serial",)), WORLDS, task=SupplyTask(max_steps=STEPS))
    seen, state, total = env.reset(SEED), None, 0.0
    policy.bind(env)
    rng = np.random.default_rng(SEED)
    for step in range(STEPS):
        actions, state = policy.act(seen, state, deterministic=True, rng=rng)
        result = env.step(actions)
        seen = result.observation
        if step >= WARM_UP:
            total -= sum(float((env.money @ rewards).sum()) for rewards in result.rewards.values())
    return total / (WORLDS * (STEPS - WARM_UP))
