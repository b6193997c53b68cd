"""Which failures are worth another try.

What befalls a run (a node is lost, a process is killed, a disk is full for a while) may not happen again, and is tried
as often as `resources.max_failures` says. What its own code raises will nearly always be raised again: it is tried once
more, and if it fails again before it has got further, that was it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import Callback
from ray.tune.result import TRAINING_ITERATION

from tune.causes import cause_of
from tune.events import Event, EventKind, publish

LONGEST = 200
"""Most characters of a cause in the middle of a run; the whole of it comes at the end."""


class RetryCallback(Callback):
    """Publishes `RECOVERING` with the cause, and lets a trial that fails by itself have one more try.

    Args:
        experiment: Name of the experiment.
        most: Times that a trial may fail and be restarted; -1: always.
    """

    def __init__(self, experiment: str, most: int) -> None:
        self.experiment, self.most = experiment, most
        self._failed_after: dict[str, int] = {}

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Says that a trial is restarted, and why; Tune has just scheduled that."""
        error = _last_error(trial)
        if self.most > 0 and error is not None and is_own(error):
            self._failed_after[trial.trial_id] = trial.last_result.get(TRAINING_ITERATION, 0)
            trial.max_failures = trial.num_failures
        cause = "" if error is None else cause_of(error)
        figures = {"cause": cause if len(cause) <= LONGEST else f"{cause[:LONGEST]}…"}
        publish(Event(EventKind.RECOVERING, self.experiment, trial.trial_id, figures))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Once a trial has got further than where it failed, it may fail as often as any."""
        failed_after = self._failed_after.get(trial.trial_id)
        if failed_after is not None and result.get(TRAINING_ITERATION, 0) > failed_after:
            del self._failed_after[trial.trial_id]
            trial.max_failures = self.most


def is_own(error: BaseException) -> bool:
    """Whether an error was raised by the code of the run, and not by what befell it."""
    while isinstance(cause := getattr(error, "cause", None) or error.__cause__, BaseException):
        error = cause
    if isinstance(error, RayActorError) and error.actor_init_failed:  # its own constructor raised
        return True
    return isinstance(error, RayTaskError) or not isinstance(error, (RayError, OSError, MemoryError))


def _last_error(trial: Any) -> BaseException | None:
    """What a trial failed with; Tune has just written it down, and copies it to the run's storage some time later."""
    file = trial.pickled_error_file
    if file is None or not Path(file).is_file():
        return None
    error = cloudpickle.loads(Path(file).read_bytes())
    return error if isinstance(error, BaseException) else None
