"""What standardised values are worth: where agents leave early, at two scales of rewards; on the cue; in trading.

Everything is as the defaults have it but for the switch, `network.normalise_values`. A score of 1 is the optimum on the
first two problems, so that there 0.95 is within 5% of it, counted from what can be had without looking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import seeds_interval

SWITCH = "network.normalise_values"
WAYS = {"standardised": True, "as they are": False}


@dataclass(frozen=True)
class Problem:
    """Something to learn.

    Attributes:
        domain: A domain's name or address.
        seeds: Runs of each way, from seed 0 on.
        values: What is set, by dotted path.
        goal: The least score that each seed is to reach with standardised values; None: it is only shown.
    """

    domain: str
    seeds: int
    values: Mapping[str, Any] = field(default_factory=dict)
    goal: float | None = None


LEAVING = "benchmarks.leaving_env:DOMAIN"
PROBLEMS = {
    "leaving early": Problem(LEAVING, 5, goal=0.95),
    "leaving early, rewards times 100": Problem(LEAVING, 5, {"env.scale": 100.0}, goal=0.95),
    "cue": Problem("cue", 5),
    "trading": Problem("trading", 3, {"stop.iterations": 60}),  # of minutes there are more on a slow machine
}


def run(
    *,
    problems: tuple[str, ...] = tuple(PROBLEMS),
    seeds: int | None = None,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains with the defaults, with and without standardised values.

    Args:
        problems: Names of problems.
        seeds: Runs of each; by default the problem's own number.
        progress: Called with a line after each run.

    Returns:
        For each problem the least score of the seeds with standardised values, which is held to the problem's goal;
        and for each way the mean held-out score with its 95% interval over seeds.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in problems:
        problem = PROBLEMS[name]
        found[name] = {way: [] for way in WAYS}
        for seed in range(seeds or problem.seeds):
            for way, normalise in WAYS.items():
                found[name][way].append(one(problem, seed, {SWITCH: normalise}))
                progress(f"{name}, seed {seed}, values {way}: score {found[name][way][-1]['score']:.3f}")
    return BenchmarkResult([bar for name, ways in found.items() for bar in bars_of(name, ways)], found)


def bars_of(name: str, ways: Mapping[str, list[dict[str, Any]]]) -> list[Bar]:
    """What is held to goals, and shown, of one problem."""
    scores = {way: [each["score"] for each in runs] for way, runs in ways.items()}
    first = next(iter(WAYS))
    least = f"{name}: least score of {len(scores[first])} seeds, values {first}"
    bars = [Bar(least, min(scores[first]), PROBLEMS[name].goal)]
    for way, values in scores.items():
        interval = seeds_interval(values)
        bars.append(Bar(f"{name}: score, values {way}", interval.estimate, low=interval.low, high=interval.high))
    return bars


def one(problem: Problem, seed: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Trains once, through the curriculum if there is one, for as many iterations as are set.

    Returns:
        The `score` of what came out, on held-out seeds of all that was trained on; `agent_steps`; `curve`: iterations
        and scores of the evaluations during training, of which that is the last.
    """
    from rllib_configs.overrides import load
    from tune.figures import AGENT_STEPS, EVAL, evaluated
    from tune.trainable import algorithm_config

    config = load(problem.domain, values={**problem.values, "seed": seed, "tracking.enabled": False, **values})
    iterations = config.stop.iterations
    assert iterations is not None
    algorithm = algorithm_config(config).build_algo()
    try:
        results = [algorithm.train() for _ in range(iterations)]
    finally:
        algorithm.stop()
    assert evaluated(results[-1]), "the last iteration is one of those that are evaluated"
    curve = [(iteration, float(row[EVAL])) for iteration, row in enumerate(results, start=1) if evaluated(row)]
    return {"seed": seed, "score": curve[-1][1], "agent_steps": int(results[-1][AGENT_STEPS]), "curve": curve}
