"""What policies reach with different weights of their objectives: Pareto fronts, and the volume that they cover.

Of two policies that trade objectives off against each other no single return says which is better. The hypervolume does
(Zitzler and Thiele 1998): what lies between a front and a fixed reference point. It is the only measure in use that
never prefers a front that another one dominates (Zitzler et al. 2003).
"""

from __future__ import annotations

from collections.abc import Mapping

import moocore
import numpy as np
from numpy.typing import NDArray

from envs.arrays import OBJECTIVE
from envs.base import BatchedEnv
from evaluation.results import ALL_RULES, FrontResult, PolicyFront
from evaluation.statistics import Interval, resampling
from evaluation.suite import Front
from policies.base import Policy
from policies.rollout import play

Floats = NDArray[np.float64]
RESAMPLES = 400


def front_of(
    front: Front,
    env: BatchedEnv,
    learned: Mapping[str, Policy],
    rules: Mapping[str, Policy],
    seed: int,
    confidence: float,
) -> FrontResult:
    """Plays everybody with every weighting, on the same worlds.

    Args:
        front: What is asked.
        env: Worlds for it.
        learned: Trained policies, by name.
        rules: Yardsticks, by name.
        seed: Seed of the worlds, and of the resampling.
        confidence: Two-sided, of the intervals.

    Raises:
        ValueError: If the env has no such objective.
    """
    for name in front.objectives:
        if name not in env.objectives:
            raise ValueError(f"front.objectives: got {name!r}, allowed are {', '.join(env.objectives) or 'none'}")
    reference = np.array([front.reference[name] for name in front.objectives])
    swept = {*learned, *front.swept}
    players = {**learned, **rules}
    found = {name: reached(front, env, policy, seed, all_of=name in swept) for name, policy in players.items()}
    found[ALL_RULES] = np.concatenate([found[name] for name in rules])
    means = {name: points.mean(axis=1) for name, points in found.items()}
    everyone = np.concatenate([means[name] for name in players])
    resampled = {name: _resampled(points, reference, seed) for name, points in found.items()}
    policies = []
    for name, points in means.items():
        others = {} if name not in learned else {other: resampled[other] for other in found if other not in learned}
        volume = volume_of(points, reference)
        policies.append(
            PolicyFront(
                policy=name,
                learned=name in learned,
                points=tuple(tuple(point) for point in points.tolist()),
                best=tuple(not bool((everyone > point).all(axis=1).any()) for point in points),
                volume=_interval(volume, resampled[name], confidence),
                differences={
                    other: _interval(volume - volume_of(means[other], reference), resampled[name] - samples, confidence)
                    for other, samples in others.items()
                },
            )
        )
    return FrontResult(
        title=front.title,
        description=front.description,
        objectives=front.objectives,
        weights=tuple({key: float(value) for key, value in variant.items()} for variant in front.variants),
        reference=tuple(reference.tolist()),
        samples=len(found[ALL_RULES][0]),
        policies=tuple(sorted(policies, key=lambda policy: -policy.volume.estimate)),
    )


def volume_of(points: Floats, reference: Floats) -> float:
    """Volume of what is worse than one of the points `[P, R]` and better than the reference `[R]`; more is better."""
    return float(moocore.hypervolume(np.asarray(points, np.float64), ref=reference, maximise=True))


def reached(front: Front, env: BatchedEnv, policy: Policy, seed: int, *, all_of: bool) -> Floats:
    """Objectives of each episode with each weighting, or with the first only, `[P, E, R]`."""
    tasks = front.tasks if all_of else front.tasks[:1]
    per_world = -(-front.episodes // env.num_worlds)
    runs = [play(env, policy, task, seed=seed, episodes_per_world=per_world).metrics for task in tasks]
    return np.array([np.stack([run[OBJECTIVE + name] for name in front.objectives], axis=1) for run in runs])


def _resampled(points: Floats, reference: Floats, seed: int) -> Floats:
    """Volumes of bootstrap samples of the worlds, the same for everybody, `[RESAMPLES]`."""
    means = np.einsum("per,es->spr", points, resampling(points.shape[1], RESAMPLES, seed))
    return np.array([volume_of(each, reference) for each in means])


def _interval(estimate: float, samples: Floats, confidence: float) -> Interval:
    low, high = np.quantile(samples, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high))
