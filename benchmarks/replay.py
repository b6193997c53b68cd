"""Runners that play nothing: they wait as long as a real one samples, then hand over what a real one once sampled.

They load neither torch nor RLlib, so that one machine holds many of them, and the main process has to do with each all
that it would have to do with a real one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from algorithms.rollout import Rollout


@dataclass(frozen=True)
class Recording:
    """A rollout as plain values.

    Attributes:
        batches: Its rows by module and column.
        num_env_steps: Its steps, summed over the worlds.
        episodes: The fields of its records of episodes.
        seconds: How long runners took to sample such a rollout, time by time.
    """

    batches: dict[str, dict[str, NDArray[Any]]]
    num_env_steps: int
    episodes: list[dict[str, Any]]
    seconds: Sequence[float]

    @staticmethod
    def of(rollout: Rollout, seconds: Sequence[float]) -> Recording:
        """Copies a rollout, whose arrays its runner would write over."""
        batches = {
            module_id: {name: np.array(column) for name, column in batch.items()}
            for module_id, batch in rollout.batches.items()
        }
        return Recording(batches, rollout.num_env_steps, [vars(record) for record in rollout.episodes], list(seconds))

    @property
    def rows(self) -> int:
        """Its agent-steps."""
        return sum(len(next(iter(batch.values()))) for batch in self.batches.values())

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        return sum(column.nbytes for batch in self.batches.values() for column in batch.values())


class Replayed:
    """What a replaying runner returns: it arrives as a `Rollout`, whose class only the receiver loads."""

    def __init__(self, index: int, recording: Recording) -> None:
        self.index, self.recording = index, recording

    def __reduce__(self) -> tuple[Callable[..., Rollout], tuple[Any, ...]]:
        recording = self.recording
        return rollout_of, (self.index, recording.batches, recording.num_env_steps, recording.episodes)


def rollout_of(index: int, batches: dict[str, Any], num_env_steps: int, episodes: list[dict[str, Any]]) -> Rollout:
    """A rollout of runner `index` from a recording's values."""
    from algorithms.rollout import EpisodeRecord, Rollout

    return Rollout(index, batches, num_env_steps, [EpisodeRecord(**fields) for fields in episodes])


class ReplayRunner:
    """What `BatchedAlgorithm` and RLlib's group of runners call on a remote runner, as an actor's class.

    Args:
        index: Its worker index.
        core: The core that it keeps to; None: any.
    """

    def __init__(self, index: int, core: int | None = None) -> None:
        self.index = index
        self._recordings: dict[int, Recording] = {}
        self._chosen = 0
        self._draws = random.Random(index)
        if core is not None:
            os.sched_setaffinity(0, {core})

    def load(self, recordings: Mapping[int, Recording]) -> None:
        """Takes the recordings that it may be asked for, by number of worlds."""
        self._recordings = dict(recordings)

    def process(self) -> int:
        """Id of its process."""
        return os.getpid()

    def choose(self, worlds: int) -> None:
        """Says which recording `sample_or_error` returns from now on."""
        self._chosen = worlds

    def sample_or_error(self, round: int) -> Replayed:
        """Waits as long as one of the recorded times, then returns the recorded rollout."""
        recording = self._recordings[self._chosen]
        time.sleep(self._draws.choice(recording.seconds))
        return Replayed(self.index, recording)

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """How RLlib calls a runner's methods."""
        return func(self, *args, **kwargs)

    def ping(self) -> str:
        """How RLlib asks whether it is there."""
        return "pong"

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Receives weights, and does nothing with them."""

    def stop(self) -> None:
        """Called in the end."""
