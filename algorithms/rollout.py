"""What a runner hands over: what it made of its worlds' trajectories, and the episodes that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns

from envs.base import Final

Columned = dict[str, NDArray[Any]]
"""One module's rows, `[N, …]` by column."""
ACTS = "acts"
"""Column of batches that hold all agents, also those that did not act, `[…, A, …]`: who did, and counts, bool."""


@dataclass(frozen=True)
class EpisodeRecord:
    """How one world's episode ended.

    Attributes:
        task: Name of the task that was played.
        mean_return: Mean return of the agents that took part, before any sharing within the team.
        length: Steps.
        metrics: The domain's figures of the episode.
        level: What the world's random stream was keyed by; with the task, what `BatchedEnv.replay` plays again.
    """

    task: str
    mean_return: float
    length: int
    metrics: dict[str, float]
    level: tuple[int, int, int] = (0, 0, 0)

    @staticmethod
    def of(final: Final) -> list[EpisodeRecord]:
        """The records of the episodes that ended in one step."""
        figures = {name: array.tolist() for name, array in final.metrics.items()}
        returns, lengths = final.mean_returns().tolist(), final.lengths.tolist()
        levels = map(tuple, final.levels.tolist())
        return [
            EpisodeRecord(
                task.name, returns[i], lengths[i], {name: column[i] for name, column in figures.items()}, level
            )
            for i, (task, level) in enumerate(zip(final.tasks, levels, strict=True))
        ]


@dataclass
class Rollout:
    """What one runner sampled.

    Attributes:
        worker_index: Which runner sampled it.
        batches: By module, what the algorithm's collector made of its trajectory: rows, an agent-step each, or whatever
            its learner takes; arrays may be views that the runner's next `sample` overwrites.
        num_env_steps: Steps, summed over the worlds.
        episodes: The episodes that ended, in the order in which they did.
    """

    worker_index: int
    batches: dict[str, Columned]
    num_env_steps: int
    episodes: list[EpisodeRecord]

    def env_steps(self) -> int:
        """Steps, summed over the worlds."""
        return self.num_env_steps

    def agent_steps(self) -> int:
        """Steps of agents that acted."""
        return sum(map(acted, self.batches.values()))


def acted(batch: Mapping[str, Any]) -> int:
    """Steps of agents that acted: those that a batch marks where it holds all, else its rows."""
    return int(batch[ACTS].sum()) if ACTS in batch else len(batch[Columns.OBS])


def counted(batch: Mapping[str, Any], name: str) -> Any:
    """A column's rows of those that count, `[N, …]`, of an array or a tensor: all, unless the batch marks who does."""
    return batch[name][batch[ACTS]] if ACTS in batch else batch[name]


def spread(batch: Columned, rows: NDArray[Any]) -> NDArray[Any]:
    """The reverse of `counted`: rows `[N]` as a column, zeros for those that do not count."""
    if ACTS not in batch:
        return rows
    column = np.zeros(batch[ACTS].shape, rows.dtype)
    column[batch[ACTS]] = rows
    return column


def joined(rollouts: Sequence[Rollout], module_id: str) -> Columned:
    """One module's rows of several runners as one batch."""
    batches = [rollout.batches[module_id] for rollout in rollouts]
    if len(batches) == 1:
        return dict(batches[0])
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
