"""Ends a trial at whichever of the configured bounds comes first."""

from __future__ import annotations

from typing import Any

from ray.tune import Stopper

from rllib_configs.schema import Stop
from tune.figures import reason_to_stop


class Bounds(Stopper):
    """Stops a trial by its own figures alone, so that a restored run stops where a run never killed would.

    Args:
        stop: The bounds.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends after this result."""
        return reason_to_stop(result, self.stop) is not None

    def stop_all(self) -> bool:
        """Whether all trials end: never, each has its own bounds."""
        return False
