"""Writes Tune's trials down in MLflow: one run a trial, a parent run a sweep, and never at training's expense.

Ray's own logger sends one metric a call, opens new runs after a restore, and stops training when the tracking server
does. Here a thread does the talking, a batch at a time; what cannot be sent is dropped with one warning.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

from ray.tune import Callback

from tune.figures import AGENT_STEPS, ITERATION
from tune.files import read_json, write_json
from tune.paths import here
from tune.tracking_uri import mlflow_experiment

logger = logging.getLogger("entrepot")

RUNS = "tracking/runs.json"
"""File below an experiment's folder that remembers which MLflow run belongs to which trial.

Not in the folder itself: a restored Tune writes back the JSON files it found there, older than they have become.
"""
MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_VALUE = 6000
MAX_KEY = 250
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""How long MLflow tries to reach a server, unless the user says otherwise; its own default is many minutes."""
LEFT_OUT = {
    *("config", "date", "done", "hostname", "node_ip", "pid", "timestamp", "trial_id", "experiment_tag"),
    *("should_checkpoint", "iterations_since_restore", "time_since_restore", "fault_tolerance"),
}
"""Parts of a Tune result that say nothing about learning."""


def sanitise(key: str) -> str:
    """A name that MLflow accepts: letters, digits and `_-./ :`, at most 250 characters."""
    return re.sub(r"[^\w\-./ :]", "_", key, flags=re.ASCII).strip("/")[:MAX_KEY]


def flatten(tree: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, their keys joined."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, separator, f"{path}{separator}"))
        else:
            flat[path] = value
    return flat


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a result under names that MLflow accepts, at most a batch of them, the flat ones first."""
    kept = {key: value for key, value in result.items() if key not in LEFT_OUT}
    numbers = {
        sanitise(key): float(value)
        for key, value in flatten(kept, "/").items()
        if isinstance(value, SupportsFloat) and not isinstance(value, str) and math.isfinite(_number(value))
    }
    ordered = sorted(numbers.items(), key=lambda item: item[0].count("/"))
    return dict(ordered[:MAX_METRICS])


def _number(value: SupportsFloat) -> float:
    """The value as a float, NaN if it is no single number."""
    try:
        return float(value)
    except (TypeError, ValueError):  # an array
        return math.nan


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Settings as MLflow parameters, within its limits."""
    return {sanitise(key): str(value)[:MAX_VALUE] for key, value in flatten(config).items()}


class Writer:
    """Talks to MLflow from a thread of its own; what fails is dropped.

    Args:
        uri: Tracking URI.
        experiment: Name of the MLflow experiment.
        folder: Folder of the Tune experiment, where run ids are remembered.
        parent: Name of a run to put all others under; None for none.
    """

    def __init__(self, uri: str, experiment: str, folder: Path, parent: str | None = None) -> None:
        self._uri, self._experiment, self._file, self._parent = uri, experiment, folder / RUNS, parent
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._client: Any = None
        self._experiment_id = ""
        self._failures = 0
        self._announced: dict[str, tuple[str, dict[str, str]]] = {}
        known = read_json(self._file) or {}
        self._runs: dict[str, str] = dict(known.get("runs", {}))
        self._parent_id: str | None = known.get("parent")
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> dict[str, str]:
        """MLflow run id by trial id."""
        return dict(self._runs)

    def begin(self, trial: str, name: str, params: Mapping[str, Any]) -> None:
        """Starts a trial's run, or takes up the one it had before a restore."""
        self._announced[trial] = (name, params_of(params))
        self._jobs.put(lambda: self._begin(trial))

    def log(self, trial: str, metrics: Mapping[str, float], step: int) -> None:
        """Writes down a batch of metrics."""
        stamp = int(time.time() * 1000)
        self._jobs.put(lambda: self._log(trial, metrics, step, stamp))

    def end(self, trial: str, status: str) -> None:
        """Ends a trial's run as FINISHED, FAILED or KILLED."""
        self._jobs.put(lambda: self._end(trial, status))

    def close(self, timeout: float = 30.0) -> None:
        """Sends what is left, ends the parent run, and waits at most `timeout` seconds for that."""
        self._jobs.put(self._end_parent)
        self._jobs.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("tracking: %s did not answer within %g s; some metrics are not there", self._uri, timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._connect()
                job()
                self._failures = 0
            except Exception as error:
                self._failures += 1
                if self._failures == 1:
                    text = " ".join(str(error).split())[:300]
                    logger.warning("tracking: %s failed, training goes on without it (%s)", self._uri, text)

    def _connect(self) -> None:
        if self._client is not None:
            return
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # takes seconds to import, hence here

        client = MlflowClient(tracking_uri=self._uri)
        self._experiment_id = mlflow_experiment(client, self._experiment, self._uri)
        if self._parent_id is not None and not _reopened(client, self._parent_id):
            self._parent_id = None
        if self._parent is not None and self._parent_id is None:
            self._parent_id = client.create_run(self._experiment_id, run_name=self._parent).info.run_id
            self._remember()
        self._client = client

    def _remember(self) -> None:
        write_json(self._file, {"uri": self._uri, "parent": self._parent_id, "runs": self._runs})

    def _begin(self, trial: str) -> None:
        """Makes the trial's run unless it has one; called again with every batch until the server has answered."""
        if trial in self._runs and _reopened(self._client, self._runs[trial]):
            return
        name, params = self._announced[trial]
        tags = {"entrepot.trial": trial}
        if self._parent_id is not None:
            tags["mlflow.parentRunId"] = self._parent_id
        run = self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
        self._runs[trial] = run
        self._remember()
        from mlflow.entities import Param

        listed = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(listed), MAX_PARAMS):
            self._client.log_batch(run, params=listed[start : start + MAX_PARAMS])

    def _log(self, trial: str, metrics: Mapping[str, float], step: int, stamp: int) -> None:
        if trial not in self._runs:
            self._begin(trial)
        from mlflow.entities import Metric

        listed = [Metric(key, value, stamp, step) for key, value in metrics.items()]
        self._client.log_batch(self._runs[trial], metrics=listed)

    def _end(self, trial: str, status: str) -> None:
        if trial in self._runs:
            self._client.set_terminated(self._runs[trial], status)

    def _end_parent(self) -> None:
        if self._parent_id is not None:
            self._client.set_terminated(self._parent_id, "FINISHED")


def _reopened(client: Any, run: str) -> bool:
    """Sets a run going again; False if the store has no such run: the one that had it is gone with its machine."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run, status="RUNNING")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


class TrackingCallback(Callback):
    """Sends every trial's settings and results to MLflow.

    Args:
        uri: Tracking URI, absolute: trials and restored runs have other working folders.
        experiment: Name of the MLflow experiment.
        folder: Folder of the Tune experiment.
        params: Settings common to all trials.
        parent: Name of a run to put all trials under, for sweeps; None for none.
    """

    def __init__(
        self, uri: str, experiment: str, folder: Path, params: Mapping[str, Any], parent: str | None = None
    ) -> None:
        self._arguments = (uri, experiment, folder, parent)
        self._params = dict(params)
        self._writer: Writer | None = None

    def setup(self, *args: Any, **info: Any) -> None:
        """Starts the thread; Tune has pickled this callback before."""
        uri, experiment, folder, parent = self._arguments
        self._writer = Writer(uri, experiment, here(folder), parent)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Starts the trial's run, or takes up the one it had."""
        assert self._writer is not None
        overrides = trial.config.get("overrides", {})
        name = self._arguments[1] if self._arguments[3] is None else f"trial {trial.trial_id}"
        self._writer.begin(trial.trial_id, name, {**flatten(self._params), **overrides})

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Sends the iteration's figures; their step is the number of agent-steps."""
        assert self._writer is not None
        step = int(result.get(AGENT_STEPS, result.get(ITERATION, 0)))
        self._writer.log(trial.trial_id, metrics_of(result), step)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ends the trial's run."""
        assert self._writer is not None
        self._writer.end(trial.trial_id, "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ends the trial's run as failed."""
        assert self._writer is not None
        self._writer.end(trial.trial_id, "FAILED")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Sends what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
