"""Plays learned policies and yardsticks over a suite, on the same worlds, and says what may be claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from envs.arrays import COST, OBJECTIVE
from envs.base import BatchedEnv, EnvConfig
from evaluation.front import front_of
from evaluation.results import Comparison, PolicyResult, ScenarioResult
from evaluation.statistics import (
    Difference,
    Interval,
    mean_intervals,
    paired_difference,
    score_interval,
    strata_difference,
    strata_interval,
)
from evaluation.suite import Column, Scenario, Suite
from evaluation.worlds import SuiteWorlds
from policies.base import Policy, RandomPolicy, Sampled
from policies.heuristics import Baselines, yardsticks_of
from policies.rollout import Episodes, play

Floats = NDArray[np.float64]
GROUP_RETURN = "return_"
"""How a figure of one group's mean return is called, before the group's name."""
KIND_TITLES = {"held_out": "All held-out scenarios", "stress": "All stress scenarios", "real": "All real data"}


@dataclass
class _Played:
    """One policy's samples in one scenario, in the order of the worlds."""

    returns: Floats
    metrics: dict[str, Floats] = field(default_factory=dict)


def compare(
    suite: Suite,
    env_config: EnvConfig | Mapping[str, Any] | None,
    learned: Mapping[str, Policy],
    *,
    yardsticks: Baselines | None = None,
    scenarios: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Examines policies.

    Args:
        suite: The scenarios.
        env_config: The run's env config, which fixes the spaces.
        learned: Trained policies, by the name the tables show.
        yardsticks: What they are compared with; the domain's own if None. A random policy is added. Where there is no
            informed one there are no scores, and the learned policies are played twice, as they are and sampled: of
            some problems the most likely action is no solution.
        scenarios: Names of the scenarios to play; all if None.
        progress: Told the title of each scenario before it is played.

    Raises:
        ValueError: If a learned policy cannot act in a scenario's env, or a name is taken twice or unknown.
    """
    sticks = yardsticks or yardsticks_of(suite.domain)
    makers: dict[str, Callable[[], Policy]] = {**sticks.policies}
    makers.setdefault("random", RandomPolicy)
    if taken := sorted(set(makers) & set(learned)):
        raise ValueError(f"learned: got the name {taken[0]!r}, allowed are names other than {', '.join(makers)}")
    chosen = suite.scenarios if scenarios is None else [suite.scenario(name) for name in scenarios]
    envs = SuiteWorlds(suite.domain, env_config)
    learners = [*learned, *(() if sticks.informed else map(sampled, learned))]
    everything: list[tuple[Scenario, dict[str, _Played]]] = []
    results = []
    for scenario in chosen:
        progress(scenario.title)
        env = envs.of(scenario)
        players = {name: envs.fit(policy, env) for name, policy in learned.items()}
        if not sticks.informed:
            players |= {sampled(name): Sampled(policy) for name, policy in players.items()}
        players |= {name: make() for name, make in makers.items() if name not in scenario.exclude}
        played = {name: _play(env, policy, scenario, suite.seed) for name, policy in players.items()}
        everything.append((scenario, played))
        bound = None if sticks.bound is None else float(np.mean([sticks.bound(env, task) for task in scenario.tasks]))
        results.append(_examine(suite, scenario, played, sticks, learners, bound))
    front = None
    if suite.front is not None and scenarios is None:
        progress(suite.front.title)
        env = envs.of(suite.front)
        players = {name: envs.fit(policy, env) for name, policy in learned.items()}
        rules = {name: make() for name, make in makers.items() if name not in suite.front.exclude}
        front = front_of(suite.front, env, players, rules, suite.seed, suite.confidence)
    return Comparison(
        domain=suite.domain,
        title=suite.title,
        noun=suite.noun,
        seed=suite.seed,
        confidence=suite.confidence,
        naive=sticks.naive,
        informed=sticks.informed,
        attainable=sticks.attainable if sticks.attainable in makers else "",
        learners=tuple(learners),
        headline=suite.headline,
        columns=suite.columns or _own_columns(results),
        overall=tuple(_together(suite, everything, sticks, learners)),
        scenarios=tuple(results),
        front=front,
    )


def _play(env: BatchedEnv, policy: Policy, scenario: Scenario, seed: int) -> _Played:
    """Plays a scenario; with variants, each variant's mean is one sample."""
    per_world = -(-scenario.episodes // env.num_worlds)
    runs = [play(env, policy, task, seed=seed, episodes_per_world=per_world) for task in scenario.tasks]
    if not scenario.variants:
        return _Played(runs[0].returns, runs[0].metrics | _group_returns(runs[0]))
    metrics = {name: np.array([run.metrics[name].mean() for run in runs]) for name in runs[0].metrics}
    return _Played(np.array([run.returns.mean() for run in runs]), metrics)


def sampled(name: str) -> str:
    """What a learned policy is called where it samples its actions."""
    return f"{name} (sampled)"


def _group_returns(run: Episodes) -> dict[str, Floats]:
    """Each group's mean return, `[E]`, where there are several; NaN where nobody of it took part."""
    if len(run.agent_returns) < 2:
        return {}
    figures = {}
    for name, returns in run.agent_returns.items():
        present = np.isfinite(returns)
        count = present.sum(axis=1)
        total = np.where(present, returns, 0.0).sum(axis=1)
        figures[GROUP_RETURN + name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return figures


def _own_columns(results: Sequence[ScenarioResult]) -> tuple[Column, ...]:
    """Columns of the groups' returns, of objectives and of costs, for a suite that names none."""
    kinds: tuple[tuple[str, str, Literal["higher", "lower"]], ...] = (
        (GROUP_RETURN, "return of ", "higher"),
        (OBJECTIVE, "", "higher"),
        (COST, "", "lower"),
    )
    found = {name: None for result in results for policy in result.policies for name in policy.metrics}
    return tuple(
        Column(metric=name, title=title + name.removeprefix(prefix), better=better)
        for prefix, title, better in kinds
        for name in found
        if name.startswith(prefix)
    )


def _examine(
    suite: Suite,
    scenario: Scenario,
    played: dict[str, _Played],
    sticks: Baselines,
    learners: list[str],
    bound: float | None,
) -> ScenarioResult:
    """Intervals and paired differences of one scenario."""
    options: dict[str, Any] = {"confidence": suite.confidence, "seed": suite.seed}
    naive, informed = played.get(sticks.naive), played.get(sticks.informed)
    scored = naive is not None and informed is not None and _beats(informed.returns, naive.returns, suite)
    bound_score = None
    if scored and bound is not None and naive is not None and informed is not None:
        zero, one = float(naive.returns.mean()), float(informed.returns.mean())
        bound_score = (bound - zero) / (one - zero)
    results = []
    for name, mine in played.items():
        score = None
        if scored and naive is not None and informed is not None:
            score = score_interval([mine.returns], [naive.returns], [informed.returns], **options)
        others = {other: p for other, p in played.items() if other not in learners} if name in learners else {}
        results.append(
            PolicyResult(
                policy=name,
                learned=name in learners,
                sampled=name in learners and any(name == sampled(other) for other in learners),
                score=score,
                mean_return=_interval(mine.returns, suite),
                metrics=_figures(mine.metrics, suite),
                differences={other: _gap(mine.returns, p.returns, suite) for other, p in others.items()},
                headline_differences={
                    other: _gap(_of(mine, suite.headline), _of(p, suite.headline), suite)
                    for other, p in others.items()
                    if np.isfinite(_of(mine, suite.headline) - _of(p, suite.headline)).any()
                },
            )
        )
    return ScenarioResult(
        name=scenario.name,
        title=scenario.title,
        kind=scenario.kind,
        description=scenario.description,
        samples=next(iter(played.values())).returns.size,
        bound=bound,
        bound_score=bound_score,
        policies=tuple(sorted(results, key=lambda result: -result.mean_return.estimate)),
    )


def _together(
    suite: Suite, everything: list[tuple[Scenario, dict[str, _Played]]], sticks: Baselines, learners: list[str]
) -> list[ScenarioResult]:
    """Scenarios of one kind together, in units of score, each scenario counting the same."""
    found = []
    for kind, title in KIND_TITLES.items():
        group = [
            played
            for scenario, played in everything
            if scenario.kind == kind
            and {sticks.naive, sticks.informed} <= set(played)
            and _beats(played[sticks.informed].returns, played[sticks.naive].returns, suite)
        ]
        if len(group) < 2:
            continue
        naive = [played[sticks.naive].returns for played in group]
        informed = [played[sticks.informed].returns for played in group]
        gaps = [float(i.mean() - n.mean()) for i, n in zip(informed, naive, strict=True)]

        def scores(name: str, group: Any = group, gaps: Any = gaps, naive: Any = naive) -> list[Floats]:
            rows = zip(group, naive, gaps, strict=True)
            return [(played[name].returns - base.mean()) / gap for played, base, gap in rows]

        names = [name for name in group[0] if all(name in played for played in group)]
        results = []
        for name in names:
            returns = [played[name].returns for played in group]
            options: dict[str, Any] = {"confidence": suite.confidence, "seed": suite.seed}
            score = score_interval(returns, naive, informed, **options)
            others = [other for other in names if other not in learners] if name in learners else []
            results.append(
                PolicyResult(
                    policy=name,
                    learned=name in learners,
                    score=score,
                    mean_return=strata_interval(returns, **options),
                    differences={
                        other: strata_difference(
                            scores(name), scores(other), alpha=1 - suite.confidence, seed=suite.seed
                        )
                        for other in others
                    },
                )
            )
        results.sort(key=lambda result: -result.score.estimate if result.score else 0.0)
        samples = sum(rows.size for rows in naive)
        found.append(ScenarioResult(name=kind, title=title, kind=kind, samples=samples, policies=tuple(results)))
    return found


def _beats(informed: Floats, naive: Floats, suite: Suite) -> bool:
    """Whether a score means something here: the informed policy beats the naive one beyond chance."""
    return paired_difference(informed, naive, alpha=1 - suite.confidence, seed=suite.seed).better


def _of(played: _Played, metric: str | None) -> Floats:
    """A figure, or NaN where the domain does not measure it."""
    return played.metrics.get(metric or "", np.full(played.returns.size, np.nan))


def _figures(metrics: dict[str, Floats], suite: Suite) -> dict[str, Interval]:
    """Intervals of all figures that are defined in every sample."""
    defined = {name: values for name, values in metrics.items() if np.isfinite(values).all()}
    if not defined:
        return {}
    found = mean_intervals(np.stack(list(defined.values())), confidence=suite.confidence, seed=suite.seed)
    return dict(zip(defined, found, strict=True))


def _interval(values: Floats, suite: Suite) -> Interval:
    """Mean with its interval."""
    return mean_intervals(values[None], confidence=suite.confidence, seed=suite.seed)[0]


def _gap(first: Floats, second: Floats, suite: Suite) -> Difference:
    """Paired difference over the worlds in which both have a value."""
    both = np.isfinite(first) & np.isfinite(second)
    return paired_difference(first[both], second[both], alpha=1 - suite.confidence, seed=suite.seed)
