"""Tune callbacks that write the history and tell listeners what happens. Tune pickles them: they hold plain values."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ray.tune import Callback

from tune import figures, history, paths
from tune.events import Event, EventKind, check_asked, publish

logger = logging.getLogger("entrepot")


class EventCallback(Callback):
    """Publishes what happens to every trial, and keeps each trial's history.

    Args:
        experiment: Name of the experiment.
        folder: Its folder; the history of trial `t` goes to `folder/trial_t` where there are several, else to `folder`.
        single: Whether there is one trial only.
    """

    def __init__(self, experiment: str, folder: Path, *, single: bool = True) -> None:
        self.experiment, self.folder, self.single = experiment, folder, single
        self._stages: dict[str, Any] = {}

    def history_folder(self, trial: str) -> Path:
        """Where a trial's history goes."""
        folder = paths.here(self.folder)
        return folder if self.single else folder / f"trial_{trial}"

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ends the experiment if someone asked for it."""
        check_asked(self.experiment)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Publishes `STARTED`."""
        self._publish(EventKind.STARTED, trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Publishes `PROGRESS`, and `STAGE` and `EVALUATED` where that happened."""
        row = figures.pick(result)
        try:
            history.append(self.history_folder(trial.trial_id), row)
        except OSError as error:  # a full disk costs the curve, not the run
            logger.warning("history: %s cannot be written (%s)", self.history_folder(trial.trial_id), error.strerror)
        self._publish(EventKind.PROGRESS, trial, row)
        if figures.evaluated(row):
            self._publish(EventKind.EVALUATED, trial, row)
        stage = row.get(figures.STAGE)
        if self._stages.get(trial.trial_id, stage) != stage:
            self._publish(EventKind.STAGE, trial, row)
        self._stages[trial.trial_id] = stage

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        """Publishes `CHECKPOINT`."""
        self._publish(EventKind.CHECKPOINT, trial, {"path": checkpoint.path})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Publishes `TRAINED`."""
        self._publish(EventKind.TRAINED, trial, figures.pick(trial.last_result))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Publishes `FAILED`."""
        self._publish(EventKind.FAILED, trial)

    def _publish(self, kind: EventKind, trial: Any, row: dict[str, Any] | None = None) -> None:
        publish(Event(kind, self.experiment, trial.trial_id, dict(row or {})))
