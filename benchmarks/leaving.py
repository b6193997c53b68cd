"""What standardised values are worth: where agents leave early, at two scales of rewards; on the cue; in trading.

Everything is as the defaults have it but for the switch, `network.normalise_values`. A score of 1 is the optimum on the
first two problems, so that there 0.95 is within 5% of it, counted from what can be had without looking.
"""

from __future__ import annotations

import tempfile
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
    # Bounded by steps, not by minutes: the same on any machine.
    "trading": Problem("trading", 3, {"stop.minutes": None, "stop.agent_steps": 2_000_000}),
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
    """Trains once, the whole way that a user goes.

    Returns:
        The held-out `score` of what came out; `agent_steps` and `stopped_by`; `curve`: agent-steps and score of the
        evaluations during training, and mean returns of training (`returns`), by iteration.
    """
    from rllib_configs.overrides import load
    from tune.figures import AGENT_STEPS, EVAL, RETURN, evaluated
    from tune.finish import run as train

    with tempfile.TemporaryDirectory() as folder:
        fixed = {"seed": seed, "tracking.enabled": False, "resources.results": folder}
        config = load(problem.domain, values={**problem.values, **fixed, **values})
        finished = train(config, name=f"seed_{seed}", quiet=True)
    assert finished.comparison is not None
    scenarios = (*finished.comparison.overall, *finished.comparison.scenarios)  # of a single one there is no overall
    held_out = next(scenario for scenario in scenarios if scenario.kind == "held_out")
    trained = next(each for each in held_out.policies if each.policy == "trained")
    assert trained.score is not None
    return {
        "seed": seed,
        "score": trained.score.estimate,
        "agent_steps": int(finished.history[-1][AGENT_STEPS]),
        "stopped_by": finished.stopped_by,
        "curve": [(row[AGENT_STEPS], row[EVAL]) for row in finished.history if evaluated(row)],
        "returns": [row.get(RETURN) for row in finished.history],
    }
