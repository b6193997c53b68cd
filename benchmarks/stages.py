"""What the yardsticks earn on every stage of a curriculum, before anything is trained on it.

A stage on which the informed policy (for trading, the regime oracle) does not provably beat the naive one (cash) has no
signal: nothing can be learned there, and its scores mean nothing. Such a stage is to be redesigned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from curriculum.config import Stage
from envs.base import EnvConfig
from envs.registry import get_domain
from evaluation.statistics import mean_interval
from policies.heuristics import baselines
from policies.rollout import Episodes, play
from rllib_configs.overrides import load
from rllib_configs.stages import stages_of

LEAST_GAIN = 1.0
"""By how much the informed policy must beat the naive one at least, with 97.5% confidence [return of an episode].

In trading, 1 is a logarithmic gain of 1% of equity.
"""


def run(
    *,
    domain: str = "trading",
    file: str | None = None,
    episodes: int = 512,
    seed: int = 7_919,
    least: float = LEAST_GAIN,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Plays every yardstick but the random policy on every stage of an experiment.

    Args:
        domain: The domain.
        file: The experiment's configuration; the domain's own if None.
        episodes: Episodes a policy plays on each stage, all policies in the same worlds.
        seed: Seed of the worlds.
        least: By how much the informed policy must beat the naive one, in the domain's unit.
        progress: Called with a line after each policy.

    Returns:
        For each stage every policy's mean return with its 95% bootstrap interval, the lower end of the interval of what
        the informed policy earns more than the naive one, which must reach `least`, and, where a bound is known, how
        far it is above the informed policy's interval.
    """
    config, options = load(domain, file=file), {"episodes": episodes, "seed": seed, "least": least}
    return measure(domain, config.env_config(), stages_of(config).stages, progress=progress, **options)  # type: ignore[arg-type]


def measure(
    domain: str,
    env_config: EnvConfig,
    stages: Sequence[Stage],
    *,
    episodes: int = 512,
    seed: int = 7_919,
    least: float = LEAST_GAIN,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Plays every yardstick but the random policy on the given stages; see `run`."""
    if episodes < 2:
        raise ValueError(f"episodes: got {episodes}, allowed is 2 or more, or there is no interval")
    yardsticks = baselines(domain)
    env = get_domain(domain).env(env_config, min(episodes, 256), task=stages[0].task)
    per_world = -(-episodes // env.num_worlds)
    bars: list[Bar] = []
    runs: list[dict[str, Any]] = []
    for stage in stages:
        played: dict[str, Episodes] = {}
        for name, make in yardsticks.policies.items():
            if name == "random" and name != yardsticks.naive:
                continue
            played[name] = play(env, make(), stage.task, episodes_per_world=per_world, seed=seed)
            interval = mean_interval(played[name].returns)
            progress(f"{stage.name:<14}{name:<14}{interval.estimate:9.2f}  [{interval.low:.2f}, {interval.high:.2f}]")
            bars.append(Bar(f"{stage.name}: {name}", interval.estimate, low=interval.low, high=interval.high))
            runs.append(
                {
                    "stage": stage.name,
                    "policy": name,
                    "episodes": len(played[name].returns),
                    "return": interval.model_dump(),
                    **{metric: float(np.mean(values)) for metric, values in played[name].metrics.items()},
                }
            )
        gain = mean_interval(played[yardsticks.informed].returns - played[yardsticks.naive].returns)
        title = f"{stage.name}: {yardsticks.informed} over {yardsticks.naive}, lower bound"
        bars.append(Bar(title, gain.low, least, low=gain.low, high=gain.high))
        if yardsticks.bound is not None:
            above = yardsticks.bound(env, stage.task) - mean_interval(played[yardsticks.informed].returns).high
            bars.append(Bar(f"{stage.name}: the bound over {yardsticks.informed}'s upper end", above, 0.0))
        naive, informed = (played[name].returns.mean() for name in (yardsticks.naive, yardsticks.informed))
        for row in runs[-len(played) :]:
            row["score"] = (row["return"]["estimate"] - naive) / (informed - naive) if informed > naive else None
    return BenchmarkResult(bars, runs)
