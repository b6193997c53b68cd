"""The one language of promotion, sweeps and reports: 0 is doing nothing clever, 1 is the informed policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import BatchedEnv, Task
from policies.base import Policy
from policies.rollout import play


@dataclass(frozen=True)
class Reference:
    """Mean returns that a task's score is measured against.

    Attributes:
        naive: Mean return of the naive policy (cash; order-what-you-sold; equal split).
        informed: Mean return of the informed policy (regime oracle; Clark-Scarf; convex optimum).
        attainable: Mean return of a policy that sees no more than the agents do; None where nobody knows one.
        bound: Mean return that provably nobody exceeds; None where nobody has proved one.
    """

    naive: float
    informed: float
    attainable: float | None = None
    bound: float | None = None

    def score(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(return - naive) / (informed - naive)`, elementwise.

        Raises:
            ValueError: If the informed policy does not beat the naive one: the task teaches nothing.
        """
        if not self.informed > self.naive:
            raise ValueError(f"score: informed {self.informed:.6g} does not beat naive {self.naive:.6g}")
        return (returns - self.naive) / (self.informed - self.naive)


@dataclass(frozen=True)
class PairedReference:
    """What the reference policies earned in each of some worlds, for scores of a policy that plays the same ones.

    Attributes:
        naive: Returns of the naive policy, `[E]`.
        informed: Returns of the informed policy in the same episodes, `[E]`.
    """

    naive: NDArray[np.float64]
    informed: NDArray[np.float64]

    def score(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores without the luck of the worlds: their mean is what `Reference.score` says, their spread is less.

        What the references' returns tell of an episode, by least squares, is taken off it: control variates, whose
        mean here is zero exactly (Glasserman 2003, "Monte Carlo Methods in Financial Engineering", section 4.1).

        Args:
            returns: Of the policy, in the same episodes, `[E]`.

        Raises:
            ValueError: If the informed policy does not beat the naive one on these worlds.
        """
        reference = Reference(float(self.naive.mean()), float(self.informed.mean()))
        scores = reference.score(returns)
        controls = np.stack([self.naive, self.informed], axis=1)
        controls = controls - controls.mean(axis=0)
        explained = controls @ np.linalg.lstsq(controls, scores - scores.mean())[0]
        return np.asarray(scores - explained, np.float64)


def measure_pairs(
    env: BatchedEnv, task: Task, naive: Policy, informed: Policy, *, seed: int, episodes_per_world: int = 1
) -> PairedReference:
    """Plays the reference policies over the same worlds and keeps what each episode earned."""
    low, high = (
        play(env, policy, task, seed=seed, episodes_per_world=episodes_per_world).returns
        for policy in (naive, informed)
    )
    return PairedReference(low, high)


def measure_reference(
    env: BatchedEnv,
    task: Task,
    naive: Policy,
    informed: Policy,
    *,
    seed: int,
    episodes_per_world: int = 1,
    attainable: Policy | None = None,
    bound: Callable[[BatchedEnv, Any], float] | None = None,
) -> Reference:
    """Plays the reference policies over the same worlds and takes their mean returns; asks for the bound."""

    def mean(policy: Policy) -> float:
        return float(play(env, policy, task, seed=seed, episodes_per_world=episodes_per_world).returns.mean())

    low, high = mean(naive), mean(informed)
    reached = high if attainable is informed else None if attainable is None else mean(attainable)
    return Reference(low, high, reached, None if bound is None else bound(env, task))
