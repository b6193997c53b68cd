"""Objectives that are not linear over time, paid step by step so that they add up.

How fairly a total was shared is known at the end only, and a mean of every step's fairness is another thing. What can
be paid is by how much a step changed the utility of all that was earned so far: `U(after) - U(before)`. These payments
add up to `U(end) - U(0)`, so that a learner without discount maximises the utility itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.arrays import BoolArray, FloatArray, IntArray

Utility = Callable[[Any, Any], Any]
"""`utility(totals, counts)`: of totals float64 `[B, A]`, and who counts, bool `[B, A]`; float64 `[B]`."""


@dataclass
class RunningUtility:
    """What all have earned in each world's episode, and what a step adds to its utility.

    Attributes:
        utility: The utility.
        totals: Earned so far, float64 `[B, A]`.
    """

    utility: Utility
    totals: np.ndarray[Any, np.dtype[np.float64]] = field(repr=False)

    @classmethod
    def zero(cls, utility: Utility, num_worlds: int, num_agents: int) -> RunningUtility:
        """Nothing earned yet."""
        return cls(utility, np.zeros((num_worlds, num_agents)))

    def begin(self, worlds: IntArray) -> None:
        """Forgets what was earned in worlds that begin anew."""
        self.totals[worlds] = 0.0

    def pay(self, earned: FloatArray, counts: BoolArray) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Takes in what a step brought.

        Args:
            earned: Of each agent, `[B, A]`.
            counts: Whose totals are part of the utility, bool `[B, A]`; to add up they stay the same in an episode.

        Returns:
            The change of the utility, float64 `[B]`.
        """
        before = self.utility(self.totals, counts)
        self.totals += np.where(counts, earned, 0.0)
        change: np.ndarray[Any, np.dtype[np.float64]] = self.utility(self.totals, counts) - before
        return change


def jain(totals: Any, counts: Any) -> Any:
    """Jain's index of fairness, `(sum x)^2 / (n sum x^2)`, from 1 / n to 1; 1 where nobody has anything.

    Jain, Chiu and Hawe (1984), "A quantitative measure of fairness and discrimination for resource allocation in shared
    computer systems", equation 2.
    """
    held = np.where(counts, totals, 0.0)
    squares = counts.sum(axis=1) * (held**2).sum(axis=1)
    return np.where(squares > 0, held.sum(axis=1) ** 2 / np.where(squares > 0, squares, 1.0), 1.0)


def least(totals: Any, counts: Any) -> Any:
    """What the worst off has, which max-min fairness maximises; 0 where nobody counts."""
    return np.where(counts.any(axis=1), np.where(counts, totals, np.inf).min(axis=1, initial=np.inf), 0.0)


def alpha_fair(alpha: float, unit: float) -> Utility:
    """The sum of `x^(1 - alpha) / (1 - alpha)`, or of `log x` where `alpha` is 1, less what it is with nothing earned.

    0 is the sum, 1 proportional fairness, 2 minimal delay, and larger ones come near max-min fairness: Mo and Walrand
    (2000), "Fair end-to-end window-based congestion control", definition 2. As `log 0` is no number, everybody has one
    `unit` to begin with, and amounts count in units.

    Args:
        alpha: Aversion to inequality, 0 or more.
        unit: An amount that is small beside what agents earn in an episode.

    Raises:
        ValueError: If one of them is not allowed.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha: got {alpha}, allowed is 0 or more")
    if not unit > 0:
        raise ValueError(f"unit: got {unit}, allowed is above 0")

    def utility(totals: Any, counts: Any) -> Any:
        if (totals < 0).any():
            raise ValueError(f"totals: got {totals.min():g}, allowed for alpha-fairness is 0 or more")
        units = 1.0 + totals / unit
        each = np.log(units) if alpha == 1 else (units ** (1 - alpha) - 1) / (1 - alpha)
        return np.where(counts, each, 0.0).sum(axis=1)

    return utility
