"""What `make train` teaches, over several seeds: the default trading team, on scenarios that nobody has seen.

Each seed goes the whole way that a user goes: the curriculum, the best checkpoint as an exported bundle, and the suite
that ends every training. Scores are therefore those of the table at the end of a run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import seeds_interval

RIVALS = ("cash", "random", "buy_and_hold", "equal_weight", "momentum")


def run(*, seeds: int = 3, episodes: int = 128, progress: Callable[[str], None] = print) -> BenchmarkResult:
    """Trains and examines the default team, once a seed.

    Args:
        seeds: Runs, from seed 0 on.
        episodes: Episodes of each scenario of the final evaluation.
        progress: Called with a line after each run.

    Returns:
        The score over all held-out scenarios, mean over seeds with its 95% interval, which must be above cash's, 0, and
        the best rule's; what the rules score on the same worlds; scores under stress; how far the curriculum got.
    """
    found = []
    for seed in range(seeds):
        found.append(one(seed, episodes))
        progress(f"seed {seed}: score {found[-1]['held_out']['trained']:.3f} after {found[-1]['seconds']:.0f} s")
    score = seeds_interval([each["held_out"]["trained"] for each in found])
    stress = seeds_interval([each["stress"]["trained"] for each in found])
    rules = {rival: max(each["held_out"][rival] for each in found) for rival in RIVALS}
    best = max(rules, key=lambda rival: rules[rival])
    bars = [
        Bar(f"held-out score, mean over {seeds} seeds", score.estimate, low=score.low, high=score.high),
        Bar("lower end of that score", score.low, 0.0),
        Bar(f"that score less the best rule's ({best})", score.estimate - rules[best]),
        *(Bar(f"held-out score of {rival}", value) for rival, value in rules.items()),
        Bar(f"score under stress, mean over {seeds} seeds", stress.estimate, low=stress.low, high=stress.high),
        Bar("stages passed, least of the seeds", min(each["stages"] for each in found), 2),
    ]
    return BenchmarkResult(bars, found)


def one(seed: int, episodes: int) -> dict[str, Any]:
    """Trains and examines one team.

    Returns:
        `held_out` and `stress`: scores by policy; `scenarios`: the same for each scenario; `stages` passed; `seconds`
        and `agent_steps` of training; `curve`: agent-steps and score of the evaluations during training.
    """
    from rllib_configs.overrides import load
    from tune.figures import AGENT_STEPS, CURRICULUM_DONE, EVAL, EVAL_ITERATION, ITERATION, SECONDS, STAGE
    from tune.finish import run as train

    with tempfile.TemporaryDirectory() as folder:
        values = {
            "seed": seed,
            "tracking.enabled": False,
            "resources.results": folder,
            "evaluation.final_episodes": episodes,
        }
        finished = train(load("trading", values=values), name=f"seed_{seed}", quiet=True)
    assert finished.comparison is not None
    overall = {
        group.kind: {each.policy: each.score.estimate for each in group.policies if each.score is not None}
        for group in finished.comparison.overall
    }
    last = finished.history[-1]
    # An evaluation's score is carried forward until the next.
    examined = [row for row in finished.history if row.get(EVAL_ITERATION) == row[ITERATION]]
    return {
        "seed": seed,
        "held_out": overall["held_out"],
        "stress": overall["stress"],
        "scenarios": finished.scores(),
        "stages": int(last[STAGE]) + bool(last[CURRICULUM_DONE]),
        "stopped_by": finished.stopped_by,
        "seconds": float(last[SECONDS]),
        "agent_steps": int(last[AGENT_STEPS]),
        "curve": [(row[AGENT_STEPS], row[EVAL]) for row in examined],
    }
