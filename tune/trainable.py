"""What Tune runs: an algorithm made from an experiment's plain values, so that trials differ by dotted paths only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from ray.tune.result import TRIAL_INFO

from algorithms.algorithm import BatchedAlgorithm
from algorithms.registry import get_algorithm
from algorithms.registry import resolve as resolve_address
from evaluation.callback import EvaluationCallback
from rllib_configs.build import build_algorithm_config
from rllib_configs.overrides import set_value, validate
from rllib_configs.schema import ExperimentConfig, experiment
from rllib_configs.stages import stages_of
from tune.metrics import MetricsCallback, TrialName
from tune.reporting import FiguresCallback
from tune.suites import scored, suite_of


def resolve(trial: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration of a trial: the experiment's, with the trial's own values laid over it.

    Args:
        trial: `{"experiment": the experiment's values, "overrides": {dotted path: value}}`.

    Raises:
        ConfigError: If a value is not allowed.
    """
    tree = experiment(trial["experiment"]).model_dump(mode="json")
    for path, value in trial.get("overrides", {}).items():
        set_value(tree, path, value)
    return validate(tree)


def algorithm_config(config: ExperimentConfig, name: TrialName | None = None) -> Any:
    """RLlib's configuration of an experiment: curriculum, evaluation, figures and metrics call back in this order.

    Args:
        config: The experiment.
        name: What the run is called in Prometheus; None: its figures are not exported.
    """
    callbacks: list[Any] = []
    if scored(config):
        callbacks.append(
            partial(EvaluationCallback, suite_of(config), stages_of(config), every=config.evaluation.interval)
        )
    callbacks.append(partial(FiguresCallback, config.stop.improvement))
    if name is not None:
        callbacks.append(partial(MetricsCallback, name, config.stop))
    return build_algorithm_config(config, callbacks)


def trainable_of(config: ExperimentConfig) -> type[BatchedAlgorithm]:
    """The algorithm of an experiment as Tune starts it."""
    return _trainable(config.algorithm)


@cache
def _trainable(algorithm: str) -> type[BatchedAlgorithm]:
    found = get_algorithm(algorithm)
    kind = resolve_address(found.algorithm)
    # Its name is what processes are called.
    made: type[BatchedAlgorithm] = type("ExperimentTrainable", (FromTrial, kind), {"__doc__": FromTrial.__doc__})
    return made


class FromTrial(BatchedAlgorithm):
    """What is done to an algorithm's class so that Tune can start it from a trial's plain values (see `resolve`)."""

    def __init__(self, config: Any = None, **kwargs: Any) -> None:
        self._values = dict(config) if isinstance(config, Mapping) else {}
        super().__init__(config=_algorithm_config(config), **kwargs)

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tune's own part of a result, with the trial's plain values in place of RLlib's hundreds of settings."""
        filled: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)
        return {**filled, "config": self._values} if "config" in filled else filled

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        """Writes a checkpoint, and takes down when."""
        saved = super().save_checkpoint(checkpoint_dir)
        for callback in self._metrics_callbacks():
            callback.saved()
        return saved

    def cleanup(self) -> None:
        """Lets all processes go, and the figures; called by Tune."""
        for callback in self._metrics_callbacks():
            callback.close()
        super().cleanup()

    def _metrics_callbacks(self) -> list[MetricsCallback]:
        return [each for each in getattr(self, "callbacks", ()) if isinstance(each, MetricsCallback)]

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        """The CPUs of the main process; remote runners ask for their own."""
        return super().default_resource_request(_algorithm_config(config))


def _algorithm_config(config: Any) -> Any:
    """RLlib's configuration, from a trial's values or from itself."""
    if isinstance(config, Mapping) and "experiment" in config:
        return algorithm_config(resolve(config), _trial_name(config.get(TRIAL_INFO)))
    return config


def _trial_name(info: Any) -> TrialName | None:
    """The names that Tune gave a trial; None where there is no Tune.

    Tune puts them into the trial's values. `ray.tune.get_context` knows them in functions only, not in classes.
    """
    return None if info is None else TrialName(info.experiment_name, info.trial_id)
