"""Branches of choices as a single choice, for algorithms that know `Discrete` actions only, such as RLlib's DQN."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, Space
from gymnasium.spaces import MultiDiscrete as Branches
from numpy.typing import NDArray

MOST_CHOICES = 65_536
"""Combinations that may be offered as one choice: each is an output of the network, and mostly a bad one."""


class FlatActions:
    """Every combination of one agent's branches as one number; the last branch counts fastest.

    Args:
        space: The agent's actions.
        agent: Its name, for errors.

    Attributes:
        space: `Discrete`, of as many choices as there are combinations.

    Raises:
        ValueError: If actions are continuous, or there are too many combinations.
    """

    def __init__(self, space: Space[Any], agent: str) -> None:
        if not isinstance(space, Branches):
            raise ValueError(
                f"flat_actions: got True, but {agent!r} has continuous actions; allowed is True with "
                "action_mode='discrete', or False"
            )
        self._sizes = tuple(int(size) for size in space.nvec)
        choices = int(np.prod([float(size) for size in self._sizes]))  # floats do not overflow
        if choices > MOST_CHOICES:
            raise ValueError(
                f"flat_actions: got True, but the {len(self._sizes)} branches of {agent!r} have {choices:.3g} "
                f"combinations; allowed are at most {MOST_CHOICES}: fewer entities or levels, or flat_actions=False"
            )
        self.space: Discrete[np.int64] = Discrete(choices)

    def branches(self, choice: Any) -> Any:
        """The choice of each branch, int64 `[K]`; what is no valid choice is left for the env to refuse."""
        array = np.asarray(choice)
        if array.size != 1 or array.dtype.kind not in "iu" or not 0 <= array.item() < self.space.n:
            raise ValueError(f"got {choice!r}, allowed is one whole number, 0 to below {self.space.n}")
        return np.array(np.unravel_index(array.item(), self._sizes), np.int64)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which choices are allowed, bool `[n]`, from the branches' masks side by side."""
        parts = np.split(mask, np.cumsum(self._sizes)[:-1])
        return reduce(np.logical_and.outer, parts).ravel()
