"""What Tune runs: an algorithm made from an experiment's plain values, so that trials differ by dotted paths only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from algorithms.ppo import PPO
from evaluation.callback import EvaluationCallback
from rllib_configs.build import build_algorithm_config
from rllib_configs.overrides import set_value, validate
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import stages_of
from tune.reporting import FiguresCallback
from tune.suites import scored, suite_of


def resolve(trial: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration of a trial: the experiment's, with the trial's own values laid over it.

    Args:
        trial: `{"experiment": the experiment's values, "overrides": {dotted path: value}}`.

    Raises:
        ConfigError: If a value is not allowed.
    """
    tree = ExperimentConfig.model_validate(trial["experiment"]).model_dump(mode="json")
    for path, value in trial.get("overrides", {}).items():
        set_value(tree, path, value)
    return validate(tree)


def algorithm_config(config: ExperimentConfig) -> Any:
    """RLlib's configuration of an experiment: curriculum, evaluation and figures call back in this order."""
    callbacks: list[Any] = []
    if scored(config):
        callbacks.append(
            partial(EvaluationCallback, suite_of(config), stages_of(config), every=config.evaluation.interval)
        )
    callbacks.append(partial(FiguresCallback, config.stop.improvement))
    return build_algorithm_config(config, callbacks)


class ExperimentTrainable(PPO):
    """PPO as Tune starts it, from a trial's plain values (see `resolve`)."""

    def __init__(self, config: Any = None, **kwargs: Any) -> None:
        self._values = dict(config) if isinstance(config, Mapping) else {}
        super().__init__(config=_algorithm_config(config), **kwargs)

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tune's own part of a result, with the trial's plain values in place of RLlib's hundreds of settings."""
        filled: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)
        return {**filled, "config": self._values} if "config" in filled else filled

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        """The CPUs of the main process and of each remote runner."""
        return super().default_resource_request(_algorithm_config(config))


def _algorithm_config(config: Any) -> Any:
    """RLlib's configuration, from a trial's values or from itself."""
    if isinstance(config, Mapping) and "experiment" in config:
        return algorithm_config(resolve(config))
    return config
