"""What a domain's learner earns on held-out seeds beside every rule there is, over training seeds, and what it trades.

Each seed goes through the curriculum for as many iterations; then all scenarios of the domain's suite are played in the
same worlds. Where a suite asks for a front, it is drawn by each learner, and by all rules with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.harness import Bar, BenchmarkResult
from evaluation.statistics import mean_interval, seeds_interval
from policies.base import Policy

SEED = 50_000_001


def run(
    *,
    domain: str = "resource_allocation",
    seeds: int = 3,
    iterations: int = 150,
    workers: int = 2,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Trains and plays.

    Args:
        domain: The domain.
        seeds: Runs, from seed 0 on.
        iterations: Iterations of each.
        workers: Processes.
        progress: Called with a line after each part.

    Returns:
        For each scenario by how much the learners' mean exceeds the strongest rule's, in units of score, with its 95%
        interval over worlds, and the scores of all; and the learners' volume beside that of all rules together.
    """
    parts: list[partial[dict[str, Any]]] = [partial(_rules, domain)]
    parts += [partial(_learner, domain, seed, iterations) for seed in range(seeds)]
    runs = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(part) for part in parts]):
            runs.append(done.result())
            progress(f"{runs[-1]['who']}: done")
    rules = next(found for found in runs if found["who"] == "rules")
    learned = sorted((found for found in runs if found["who"] != "rules"), key=lambda found: found["who"])
    bars = [bar for name in rules["returns"] for bar in _scenario(domain, name, rules, learned)]
    return BenchmarkResult(bars + _front(domain, rules, learned), [_shortened(found) for found in [rules, *learned]])


@contextmanager
def trained(domain: str, seed: int, iterations: int) -> Iterator[tuple[Policy, Any]]:
    """A policy that has been trained through the curriculum, and the env's config."""
    from rllib_configs.overrides import load
    from tune.trainable import algorithm_config

    config = load(domain, values={"seed": seed, "evaluation.interval": 0, "tracking.enabled": False})
    algorithm = algorithm_config(config).build_algo()
    try:
        for _ in range(iterations):
            algorithm.train()
        yield algorithm.as_policy(), config.env_config()
    finally:
        algorithm.stop()


def all_rules(domain: str) -> dict[str, Callable[[], Policy]]:
    """The yardsticks of a domain, and rules beside them that its module has under `RULES`."""
    from envs.registry import get_domain
    from policies.heuristics import baselines

    module = import_module(get_domain(domain).baselines.partition(":")[0])
    return {**baselines(domain).policies, **getattr(module, "RULES", {})}


def _rules(domain: str) -> dict[str, Any]:
    from rllib_configs.overrides import load

    players = {name: make() for name, make in all_rules(domain).items() if name != "random"}
    return {"who": "rules", **_played(domain, load(domain).env_config(), players)}


def _learner(domain: str, seed: int, iterations: int) -> dict[str, Any]:
    with trained(domain, seed, iterations) as (policy, config):
        return {"who": f"seed {seed}", **_played(domain, config, {"learned": policy})}


def _played(domain: str, config: Any, players: Mapping[str, Policy]) -> dict[str, Any]:
    """Returns by scenario and policy, and what each reaches on the front."""
    from evaluation.front import reached
    from evaluation.suite import load_suite
    from evaluation.worlds import SuiteWorlds
    from policies.rollout import play

    suite, worlds = load_suite(domain), SuiteWorlds(domain, config)
    returns: dict[str, dict[str, list[float]]] = {}
    for scenario in suite.scenarios:
        env = worlds.of(scenario)
        per_world = -(-scenario.episodes // env.num_worlds)
        returns[scenario.name] = {
            name: play(
                env, worlds.fit(policy, env), scenario.tasks[0], seed=SEED, episodes_per_world=per_world
            ).returns.tolist()
            for name, policy in players.items()
            if name not in scenario.exclude
        }
    points = {}
    if suite.front is not None:
        env, swept = worlds.of(suite.front), {"learned", *suite.front.swept}
        for name, policy in players.items():
            points[name] = reached(suite.front, env, worlds.fit(policy, env), SEED, all_of=name in swept).tolist()
    return {"returns": returns, "points": points}


def _scenario(domain: str, name: str, rules: dict[str, Any], learned: list[dict[str, Any]]) -> list[Bar]:
    """How the learners stand in one scenario."""
    from policies.heuristics import baselines

    sticks = baselines(domain)
    played = {rule: np.array(each) for rule, each in rules["returns"][name].items()}
    zero, one = played[sticks.naive].mean(), played[sticks.informed].mean()
    mine = np.array([found["returns"][name]["learned"] for found in learned])
    score = seeds_interval((mine.mean(axis=1) - zero) / (one - zero))
    best = max(played, key=lambda rule: float(played[rule].mean()))
    gain = mean_interval((mine.mean(axis=0) - played[best]) / (one - zero))
    bars = [
        Bar(f"{name}: learned, score", score.estimate, low=score.low, high=score.high),
        Bar(f"{name}: learned over {best}, the strongest", gain.estimate, 0.0, low=gain.low, high=gain.high),
    ]
    return bars + [
        Bar(f"{name}: {rule}, score", float((each.mean() - zero) / (one - zero))) for rule, each in played.items()
    ]


def _front(domain: str, rules: dict[str, Any], learned: list[dict[str, Any]]) -> list[Bar]:
    """The learners' volume over that of all rules together, and over the best one's."""
    from evaluation.front import volume_of
    from evaluation.suite import load_suite

    if not rules["points"]:
        return []
    front = load_suite(domain).front
    assert front is not None
    reference = np.array([front.reference[name] for name in front.objectives])
    means = {name: np.array(points).mean(axis=1) for name, points in rules["points"].items()}
    together = volume_of(np.concatenate(list(means.values())), reference)
    best = max(means, key=lambda name: volume_of(means[name], reference))
    mine = [volume_of(np.array(found["points"]["learned"]).mean(axis=1), reference) for found in learned]
    bars = []
    for title, most in (
        ("all rules together", together),
        (f"{best}, the best rule", volume_of(means[best], reference)),
    ):
        over = seeds_interval([volume / most for volume in mine])
        bars.append(Bar(f"front: learned over {title}", over.estimate, 1.0, low=over.low, high=over.high))
    return bars + [
        Bar(f"front: {name} over all", volume_of(each, reference) / together) for name, each in means.items()
    ]


def _shortened(found: dict[str, Any]) -> dict[str, Any]:
    """Means in the place of what each world gave."""
    returns = {
        scenario: {name: float(np.mean(each)) for name, each in by.items()} for scenario, by in found["returns"].items()
    }
    points = {name: np.array(each).mean(axis=1).tolist() for name, each in found["points"].items()}
    return {"who": found["who"], "returns": returns, "points": points}
