"""What a tenant gains that always asks for all it can use, where the others do as they have learned, or as a rule says.

Machines grant what is asked in proportion, so that whoever waits for others leaves them room: a team that shares one
reward does so, and one that lies gains by it. How much it gains, and what that costs the others, is measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from benchmarks.standings import trained
from evaluation.statistics import mean_interval
from policies.base import Policy

SEED, WORLDS = 51_000_001, 128
STAGE = "bursty"


def run(*, iterations: int = 100, seed: int = 0, progress: Callable[[str], None] = print) -> BenchmarkResult:
    """Trains once, and plays with and without a liar, in the same worlds.

    Args:
        iterations: Iterations of training.
        seed: Seed of the training.
        progress: Called with a line after each policy.

    Returns:
        By policy of the others: what the liar's jobs are worth over what they were when it did as the others do, less
        1, and the same of the team's mean return, with 95% intervals over worlds.
    """
    from policies.heuristics.resource_allocation import RULES

    with trained("resource_allocation", seed, iterations) as (policy, config):
        players: Mapping[str, Policy] = {
            "learned": policy,
            **{name: RULES[name]() for name in ("marginal_welfare", "drf", "equal_split", "everything")},
        }
        runs = []
        for name, player in players.items():
            runs.append({"policy": name, **gains(player, config)})
            progress(f"{name}: {runs[-1]}")
    bars = []
    for found in runs:
        for what in ("liar", "team"):
            gain = found[what]
            title = f"{found['policy']}: the {what} gains"
            bars.append(Bar(title, gain["estimate"], low=gain["low"], high=gain["high"]))
    return BenchmarkResult(bars, runs)


def gains(policy: Policy, config: Any) -> dict[str, Any]:
    """Relative gains of the liar's own value and of the team's return."""
    from envs.resource_allocation import AllocationEnv, AllocationTask
    from policies.rollout import play
    from rllib_configs.overrides import load
    from rllib_configs.stages import stages_of

    stage = next(s.task for s in stages_of(load("resource_allocation")).stages if s.name == STAGE)
    plain = {**stage.model_dump(), "drawn": ()}
    env = AllocationEnv(config, WORLDS)
    played = []
    for liars in (0, 1):
        found = play(env, policy, AllocationTask.model_validate({**plain, "liars": liars}), seed=SEED)
        played.append((found.metrics["first_value"], found.returns))
    (honest, together), (lying, divided) = played
    return {
        "liar": mean_interval((lying - honest) / np.mean(honest)).model_dump(),
        "team": mean_interval((divided - together) / np.mean(together)).model_dump(),
    }
