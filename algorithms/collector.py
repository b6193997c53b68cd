"""What an algorithm does while worlds are sampled: how its modules act, and what it makes of their trajectories."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from algorithms.rollout import Columned
from algorithms.trajectory import Trajectory


class Collector(Protocol):
    """One module's part in sampling; an algorithm's config makes it (`BatchedConfig.collector`).

    The runner writes what is seen into the trajectory, asks for actions, steps the worlds, and writes down what came of
    it; after the last step it asks for what the learner is to get. All this under `torch.inference_mode`.

    Attributes:
        trajectory: What the runner writes to, the same object in every rollout of the same length.
    """

    trajectory: Trajectory

    def act(self, step: int, generator: torch.Generator) -> NDArray[Any]:
        """Chooses the actions of a step, writes them into the trajectory, and returns what the env is to see.

        Args:
            step: The step, which the trajectory has seen.
            generator: Source of all randomness: exploration is keyed by it, and so repeatable.

        Returns:
            `[B, A, K]`, within bounds and masks; those of agents that do not act are arbitrary but valid.
        """

    def finish(self) -> Columned:
        """What the learner gets of the finished trajectory: arrays by name, of which `obs` is one, a row a sample."""
