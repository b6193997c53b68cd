"""One training run under Tune: started, checkpointed, restarted after a crash, and resumed after a kill."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_configs.schema import ExperimentConfig
from tune import figures, history, mirror, paths, storage
from tune.causes import cause_of
from tune.events import Event, EventKind, Listener, StopAskedError, listening, publish
from tune.files import read_json, write_json
from tune.launch import hush, ray_for
from tune.preflight import prepare

SNAPSHOT_EVERY = "5"
"""Seconds between Tune's own snapshots of where a run is; what happened since the last is repeated on resuming."""


class TrainingError(RuntimeError):
    """Training failed for good; its text is one line, and its cause the worker's own error."""


class InterruptedTrainingError(TrainingError):
    """Training was stopped from outside before it was done; it can be resumed."""

    exit_code = 130


@dataclass(frozen=True)
class ExperimentResult:
    """What a training run left behind.

    Attributes:
        name: Name of the experiment.
        folder: Its folder.
        config: Its configuration.
        checkpoint: The checkpoint with the best evaluation score; the newest where there was no evaluation.
        last_checkpoint: The newest checkpoint.
        figures: The flat figures of the last iteration (`tune.figures`).
        best: The flat figures of the iteration that `checkpoint` was taken in.
        history: The flat figures of every iteration.
        stopped_by: Why training ended, in words.
    """

    name: str
    folder: Path
    config: ExperimentConfig
    checkpoint: Path
    last_checkpoint: Path
    figures: dict[str, Any]
    best: dict[str, Any]
    history: list[dict[str, Any]] = field(repr=False)
    stopped_by: str


def train(
    config: ExperimentConfig,
    *,
    name: str | None = None,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
) -> ExperimentResult:
    """Trains until a bound of `config.stop` is reached.

    Args:
        config: The experiment.
        name: Name of the experiment and of its folder in `resources.results`; made up if None.
        resume: Go on with the experiment of that name (the domain's latest if None) where its last checkpoint is; its
            own configuration then counts, and `config` only says where results lie, and in which storage.
        listeners: Told what happens.

    Returns:
        What it left behind.

    Raises:
        ConfigError: If a name, a curriculum or the resources are not what they may be.
        FolderError: If results or storage cannot be written.
        TrainingError: If training failed more often than `resources.max_failures`, or was interrupted.
    """
    hush()
    from rllib_configs.build import check_algorithm

    hush()  # again: importing RLlib sets its loggers anew
    config, folder = prepare(config, name, resume=resume)
    if resume and (done := _load(config, folder)) is not None:
        return done
    if resume:
        rehearse(config)
    else:
        check_algorithm(config)
    with ray_for(config):
        if not resume:  # only now: a run that is refused takes no name
            folder.mkdir(parents=True, exist_ok=True)
            paths.save_config(folder, config)
        with mirror.kept(config, folder) as keepers, listening(folder.name, *listeners, *keepers):
            publish(Event(EventKind.STARTED, folder.name))
            try:
                grid = _tuner(config, folder).fit()
            except StopAskedError as error:
                raise InterruptedTrainingError(f"training was interrupted; {resumable(folder.name)}") from error
            return _result(config, folder, grid)


def rehearse(config: ExperimentConfig) -> None:
    """Saves and restores a world in this process, so that what an env says of it is read by those who resume a run.

    The process that trains says it to its log file only.
    """
    env = config.get_domain().env(config.env_config(), 1)
    env.reset(config.seed)
    env.set_state(env.get_state())


def _tuner(config: ExperimentConfig, folder: Path) -> Any:
    """Tune's description of the run, restored from its last snapshot if there is one."""
    hush()
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", SNAPSHOT_EVERY)
    from ray.tune import Tuner

    from tune.trainable import trainable_of

    place = storage.tune_place(config, folder)
    if Tuner.can_restore(place):
        return Tuner.restore(place, trainable_of(config), resume_errored=True)
    return Tuner(
        trainable_of(config),
        param_space={"experiment": config.model_dump(mode="json")},
        tune_config=tune_config(),
        run_config=run_config(config, folder),
    )


def tune_config(**options: Any) -> Any:
    """Tune's settings that trials and folders are named by."""
    from ray.tune import TuneConfig

    return TuneConfig(trial_name_creator=_trial_name, trial_dirname_creator=_trial_name, **options)


def _trial_name(trial: Any) -> str:
    """Folder of a trial: its id alone."""
    return f"trial_{trial.trial_id}"


def run_config(config: ExperimentConfig, folder: Path, *, parent: str | None = None) -> Any:
    """Tune's settings of checkpoints, failures, bounds and callbacks.

    Args:
        config: The experiment.
        folder: Its folder.
        parent: Name of the MLflow run above all trials', for sweeps.
    """
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig

    from tune.callbacks import EventCallback
    from tune.retries import RetryCallback
    from tune.stopping import Bounds
    from tune.suites import scored
    from tune.tracking import TrackingCallback

    most = config.resources.max_failures
    callbacks: list[Any] = [
        EventCallback(folder.name, folder, single=parent is None),
        RetryCallback(folder.name, most),
    ]
    if config.tracking.enabled:
        params = config.model_dump(mode="json")
        callbacks.append(TrackingCallback(config.tracking.uri, folder.name, folder, params, parent))
    return RunConfig(
        name=folder.name,
        storage_path=storage.tune_root(config, folder),
        stop=Bounds(config.stop),
        callbacks=callbacks,
        failure_config=FailureConfig(max_failures=most),
        checkpoint_config=CheckpointConfig(
            num_to_keep=config.checkpoint.keep,
            checkpoint_frequency=config.checkpoint.interval,
            checkpoint_at_end=True,
            checkpoint_score_attribute=figures.CHECKPOINT_SCORE if scored(config) else None,
            checkpoint_score_order="max",
        ),
        verbose=0,
    )


def _result(config: ExperimentConfig, folder: Path, grid: Any) -> ExperimentResult:
    """Reads what Tune left behind."""
    (result,) = list(grid)
    hint = resumable(folder.name)
    if result.error is not None:
        raise TrainingError(f"training failed: {cause_of(result.error)}; {hint}") from result.error
    row = figures.pick(result.metrics or {})
    reason = figures.reason_to_stop(row, config.stop)
    if reason is None or result.checkpoint is None:
        raise InterruptedTrainingError(
            f"training was interrupted after {row.get(figures.ITERATION, 0)} iterations; {hint}"
        )
    newest = Path(result.checkpoint.path)
    ranked = [(m.get(figures.CHECKPOINT_SCORE, -math.inf), c, m) for c, m in result.best_checkpoints]
    ranked = [entry for entry in ranked if math.isfinite(entry[0])]
    best, metrics = newest, result.metrics
    if ranked:
        _, checkpoint, metrics = max(ranked, key=lambda entry: entry[0])
        best = Path(checkpoint.path)
    origin = storage.tune_path(config, folder)
    trained = {
        "checkpoint": best.relative_to(origin).as_posix(),
        "last_checkpoint": newest.relative_to(origin).as_posix(),
        "figures": row,
        "best": figures.pick(metrics),
        "stopped_by": reason,
    }
    write_json(folder / paths.TRAINED, trained)
    done = _load(config, folder)
    assert done is not None
    return done


def _load(config: ExperimentConfig, folder: Path) -> ExperimentResult | None:
    """The result of training that is over, its checkpoints fetched from storage if need be; None if it is not over."""
    trained = read_json(folder / paths.TRAINED)
    if trained is None:
        return None
    if (keeper := mirror.mirror_of(config, folder)) is not None:
        keeper.fetch_checkpoint(trained["checkpoint"])
        keeper.fetch_checkpoint(trained["last_checkpoint"])
    return ExperimentResult(
        name=folder.name,
        folder=folder,
        config=config,
        checkpoint=folder / trained["checkpoint"],
        last_checkpoint=folder / trained["last_checkpoint"],
        figures=trained["figures"],
        best=trained["best"],
        history=history.read(folder),
        stopped_by=trained["stopped_by"],
    )


def resumable(name: str) -> str:
    """How to go on with an experiment."""
    return f"it can be resumed: --experiment {name} --resume"
