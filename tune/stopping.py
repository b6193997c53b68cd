"""Ends a trial at whichever of the configured bounds comes first, or when someone asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Stopper

from rllib_configs.schema import Stop
from tune.figures import reason_to_stop

_asked: Counter[str] = Counter()


@contextmanager
def asking_to_stop(experiment: str) -> Iterator[None]:
    """While the context lasts, the experiment of that name ends after its next result, with a checkpoint."""
    _asked[experiment] += 1
    try:
        yield
    finally:
        _asked[experiment] -= 1


class Bounds(Stopper):
    """Stops a trial by its own figures alone, so that a restored run stops where a run never killed would.

    Args:
        stop: The bounds.
        experiment: Name by which someone in this process may ask it to stop.
    """

    def __init__(self, stop: Stop, experiment: str = "") -> None:
        self.stop, self.experiment = stop, experiment

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends after this result."""
        return self.stop_all() or reason_to_stop(result, self.stop) is not None

    def stop_all(self) -> bool:
        """Whether all trials end: only when someone asked for it."""
        return _asked[self.experiment] > 0
