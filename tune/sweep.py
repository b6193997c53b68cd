"""Many trials of one experiment under a search algorithm, and their ranking."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from policies.files import write_text
from rllib_configs.errors import ConfigError
from rllib_configs.overrides import merge, set_value, validate
from rllib_configs.schema import ExperimentConfig
from rllib_configs.space import Choice, Integer, LogUniform, SweepConfig, Uniform, check_space, plain_values
from tune import figures, mirror, paths, storage
from tune.causes import cause_of
from tune.events import Event, EventKind, Listener, listening, publish
from tune.experiment import SNAPSHOT_EVERY, TrainingError, rehearse, run_config, tune_config
from tune.files import read_json, write_json
from tune.launch import hush, needed_cpus, ray_for
from tune.preflight import prepare
from tune.suites import scored

BEST = "best.yaml"


@dataclass(frozen=True)
class RankedTrial:
    """One trial of a sweep.

    Attributes:
        rank: 1 is the best.
        trial: Id of the trial.
        score: Its best evaluation score; None if it never got so far.
        iterations: Training iterations it was given.
        status: `done`, `stopped early`, or what failed.
        values: What it tried, by dotted path.
    """

    rank: int
    trial: str
    score: float | None
    iterations: int
    status: str
    values: dict[str, Any]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        name: Name of the experiment.
        folder: Its folder.
        config: What all trials had in common.
        ranking: All trials, the best first.
        best: The best trial's complete configuration, as YAML that `train --config` takes.
    """

    name: str
    folder: Path
    config: ExperimentConfig
    ranking: list[RankedTrial]
    best: Path


def sweep(
    config: ExperimentConfig,
    plan: SweepConfig | None,
    *,
    samples: int,
    name: str | None = None,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
) -> SweepResult:
    """Searches for better settings: Optuna's TPE proposes trials, ASHA stops those that fall behind.

    All trials share the experiment's seed, so that they are compared on the same worlds.

    Args:
        config: What all trials have in common.
        plan: What is tried; a sweep that goes on has its own.
        samples: Trials in all; a sweep that goes on has its own number.
        name: Name of the experiment; made up if None.
        resume: Go on with the sweep of that name (the domain's latest if None).
        listeners: Told what happens.

    Raises:
        ConfigError: If a value of the space is not allowed, or the resources are not there.
        FolderError: If results or storage cannot be written.
        TrainingError: If every trial failed.
    """
    if samples < 1:
        raise ConfigError(f"samples: got {samples}, allowed is 1 or more")
    if resume:
        config, folder, plan, samples = resumed(config, name)
        rehearse(config)
    elif plan is None:
        raise ConfigError("plan: got None, allowed is what a new sweep tries")
    else:
        config, folder = prepare(configured(config, plan), name, sweep=True)
    hush()
    from rllib_configs.build import check_algorithm

    hush()  # again: importing RLlib sets its loggers anew
    for tried in check_space(config, plan):
        check_algorithm(tried)
    if not scored(config):
        raise ConfigError(
            f"evaluation.interval: got {config.evaluation.interval}, allowed in a sweep is 1 or more: trials are "
            "ranked by score"
        )
    with ray_for(config):
        if not resume:  # only now: a sweep that is refused takes no name
            folder.mkdir(parents=True, exist_ok=True)
            paths.save_config(folder, config)
            write_json(folder / paths.SWEEP, {"plan": plan.model_dump(mode="json"), "samples": samples})
        with mirror.kept(config, folder) as keepers, listening(folder.name, *listeners, *keepers):
            publish(Event(EventKind.STARTED, folder.name))
            grid = _tuner(config, plan, folder, samples).fit()
            return _result(config, folder, grid)


def resumed(config: ExperimentConfig, name: str | None) -> tuple[ExperimentConfig, Path, SweepConfig, int]:
    """Configuration, folder, plan and samples of a sweep that goes on, as they were when it began.

    Args:
        config: Says where results lie, in which storage, and whose latest sweep is meant if there is no name.
        name: Its name.

    Raises:
        ConfigError: If there is no such sweep.
    """
    config, folder = prepare(config, name, resume=True, sweep=True)
    saved = read_json(folder / paths.SWEEP)
    if saved is None:
        raise ConfigError(f"{folder / paths.SWEEP}: cannot be read, so the sweep cannot go on")
    return config, folder, SweepConfig.model_validate(saved["plan"]), int(saved["samples"])


def configured(config: ExperimentConfig, plan: SweepConfig) -> ExperimentConfig:
    """The experiment with the sweep's own settings; a trial ends after the plan's iterations at the latest.

    Raises:
        ConfigError: If a setting is not allowed.
    """
    tree: dict[str, Any] = {}
    merge(tree, config.model_dump(mode="json"))
    for path, value in plan.settings.items():
        set_value(tree, path, value)
    set_value(tree, "stop.iterations", plan.iterations)
    return validate(tree)


def _tuner(config: ExperimentConfig, plan: SweepConfig, folder: Path, samples: int) -> Any:
    hush()
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", SNAPSHOT_EVERY)
    import optuna
    import ray
    from ray.tune import Tuner
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from tune.trainable import trainable_of

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = storage.tune_place(config, folder)
    if Tuner.can_restore(place):
        return Tuner.restore(place, trainable_of(config), resume_errored=True)
    cpus = ray.cluster_resources().get("CPU", 1.0)
    return Tuner(
        trainable_of(config),
        param_space={
            "experiment": config.model_dump(mode="json"),
            "overrides": {path: _domain(dimension) for path, dimension in plan.space.items()},
        },
        tune_config=tune_config(
            metric=figures.EVAL,
            mode="max",
            num_samples=samples,
            max_concurrent_trials=max(1, int(cpus // needed_cpus(config))),
            search_alg=OptunaSearch(seed=config.seed),
            scheduler=ASHAScheduler(
                time_attr=figures.ITERATION,
                max_t=plan.iterations,
                grace_period=plan.grace,
                reduction_factor=plan.reduction,
            ),
        ),
        run_config=run_config(config, folder, parent=folder.name),
    )


def _domain(dimension: Uniform | LogUniform | Integer | Choice) -> Any:
    """A dimension as Tune knows it."""
    from ray import tune

    if isinstance(dimension, Choice):
        return tune.choice(list(dimension.values))
    if isinstance(dimension, Integer):
        return tune.randint(dimension.low, dimension.high + 1)
    if isinstance(dimension, LogUniform):
        return tune.loguniform(dimension.low, dimension.high)
    return tune.uniform(dimension.low, dimension.high)


def _result(config: ExperimentConfig, folder: Path, grid: Any) -> SweepResult:
    results = list(grid)
    rows = []
    for result in results:
        metrics = result.metrics or {}
        row = figures.pick(metrics)
        score, iterations = row.get(figures.BEST), int(row.get(figures.ITERATION, 0))
        reason = figures.reason_to_stop(row, config.stop)
        status = "done" if reason else "stopped early"
        if result.error is not None:
            status = f"failed: {cause_of(result.error)}"
        values = plain_values((metrics.get("config") or {}).get("overrides", {}))
        rows.append((Path(result.path).name.removeprefix("trial_"), score, iterations, status, values))
    if all(result.error is not None for result in results):
        raise TrainingError(f"all {len(results)} trials failed; the first: {rows[0][3]}") from results[0].error
    rows.sort(key=lambda row: -math.inf if row[1] is None else row[1], reverse=True)
    ranking = [RankedTrial(rank, *row) for rank, row in enumerate(rows, start=1)]
    tree = config.model_dump(mode="json")
    for path, value in ranking[0].values.items():
        set_value(tree, path, value)
    best = folder / BEST
    write_text(best, yaml.safe_dump(tree, sort_keys=False, width=120))
    write_json(folder / paths.RANKING, [asdict(trial) for trial in ranking])
    return SweepResult(folder.name, folder, config, ranking, best)
