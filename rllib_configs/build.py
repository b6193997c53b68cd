"""Turns a checked configuration into RLlib's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from algorithms.config import BatchedConfig
from curriculum.callback import CurriculumCallback
from rllib_configs.errors import ConfigError, one_line
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import load_stages

MakeCallback = Callable[[], RLlibCallback]


def build_algorithm_config(config: ExperimentConfig, callbacks: Sequence[MakeCallback] = ()) -> BatchedConfig:
    """The algorithm configuration of an experiment.

    Args:
        config: The experiment.
        callbacks: Called in order after the curriculum's callback, which comes first.

    Returns:
        A configuration that `build_algo` or Tune takes.

    Raises:
        ConfigError: If the curriculum does not fit.
    """
    runners = config.runners
    curriculum = load_stages(config)
    makers: list[Any] = [partial(CurriculumCallback, curriculum)] if curriculum is not None else []
    algorithm = config.get_algorithm().config(config.settings)
    algorithm.environment(env=config.domain, env_config=config.env_config().model_dump())
    algorithm.env_runners(
        num_env_runners=runners.num_env_runners,
        num_envs_per_env_runner=runners.worlds,
        rollout_fragment_length=runners.rollout_length,
    )
    algorithm.batched(
        task=None if curriculum is not None else config.typed_task().model_dump(),
        policies=config.policies,
        network=config.network.model_dump(),
    )
    algorithm.debugging(seed=config.seed)
    algorithm.fault_tolerance(
        restart_failed_env_runners=True,
        delay_between_env_runner_restarts_s=config.resources.restart_delay,
    )
    algorithm.callbacks([*makers, *callbacks])
    return algorithm


def check_algorithm(config: ExperimentConfig) -> None:
    """Has the algorithm look at its settings together, which the schema sees one by one.

    Raises:
        ConfigError: If they do not go together, such as a minibatch larger than a whole rollout.
    """
    try:
        build_algorithm_config(config).validate()
    except ConfigError:
        raise
    except ValueError as error:
        name, colon, rest = one_line(error).partition(": ")
        algorithm = config.get_algorithm()
        ours = f"{algorithm.name}.{algorithm.our_names[name]}" if name in algorithm.our_names else name
        raise ConfigError(f"{ours}{colon}{rest}") from error
