"""Starts Ray quietly, or joins the cluster there is, and refuses what could never be scheduled."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from envs.registry import address_of
from rllib_configs.errors import ConfigError, one_line
from rllib_configs.schema import ExperimentConfig
from tune.joining import announced, start
from tune.runtime import runtime_env
from tune.sharing import alive_nodes, check_nodes
from tune.tracking_uri import warn_of_lonely_file

QUIET = {
    "PYTHONWARNINGS": "ignore",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # a server would have two lines at the end of each run
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables would fight with ours
    "RAY_DEDUP_LOGS": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # history.jsonl and MLflow hold what its CSV and JSON files would
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial has no score before its first evaluation
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Variables that hush Ray, and Tune's duplicate outputs; what the user has set is left alone."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""On busy cores two threads a process make an update many times slower."""

NOISY = ("ray", "ray.tune", "ray.rllib", "ray.train", "ray.data", "ray._private", "mlflow", "alembic", "optuna")


def hush() -> None:
    """Quiets Ray, Tune, RLlib, MLflow and warnings in this process and those it starts; errors still come through."""
    for name, value in {**QUIET, **ONE_THREAD}.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told in one line, by us


def local_cpus() -> int:
    """CPUs this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def needed_cpus(config: ExperimentConfig) -> int:
    """CPUs that one trial keeps busy: its main process, and one a remote runner."""
    return 1 + config.runners.num_env_runners


def check_resources(config: ExperimentConfig, available: float, *, cluster: bool = False) -> None:
    """Refuses a trial that could never start: Tune would wait for its CPUs for ever.

    On a cluster the main process and one remote runner must find a CPU; further runners join when there is room.

    Args:
        config: The experiment.
        available: CPUs there are.
        cluster: Whether they are a cluster's.

    Raises:
        ConfigError: If the trial needs more.
    """
    runners, needed = config.runners.num_env_runners, needed_cpus(config)
    if cluster and min(needed, 2) > available:
        raise ConfigError(
            f"runners.num_env_runners: got {runners}, which needs {min(needed, 2)} CPUs or more with the main process, "
            f"but the cluster has {available:g}; allowed is {'0, or ' if available >= 1 else ''}a cluster with more"
        )
    if not cluster and needed > available:
        raise ConfigError(
            f"runners.num_env_runners: got {runners}, which needs {needed} CPUs with the main process, but this run "
            f"may use {available:g}; allowed is 0 to {max(0, int(available) - 1)}"
        )


@contextmanager
def ray_for(config: ExperimentConfig) -> Iterator[None]:
    """Ray for an experiment.

    It is the one already started here, the cluster that `RAY_ADDRESS` or `ray start` names, or a local one that ends
    with the context.

    Raises:
        ConfigError: If the trial could never be scheduled, the cluster cannot be joined, or its nodes do not share what
            the run leaves behind.
    """
    hush()
    import ray

    if ray.is_initialized():
        check_scheduling(config)
        _check_sharing(config)
        yield
        return
    addresses = (address_of(config.domain), config.algorithm)
    modules = [address for address in addresses if ":" in address]
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        options["runtime_env"] = runtime_env(*modules)
    except ValueError as error:
        raise ConfigError(one_line(error)) from error
    cpus = config.resources.cpus or local_cpus()
    if not announced():
        check_resources(config, cpus)
    joined = start(options, cpus)
    try:
        hush()  # ray.init sets its loggers anew
        check_scheduling(config, joined=joined)
        _check_sharing(config)
        yield
    finally:
        ray.shutdown()


def check_scheduling(config: ExperimentConfig, *, joined: bool = False) -> None:
    """Checks a trial against the Ray there is.

    Args:
        config: The experiment.
        joined: Whether it is known to be a cluster; one of several nodes is, whoever started it.

    Raises:
        ConfigError: If the trial could never be scheduled.
    """
    import ray

    cluster = joined or len(alive_nodes()) > 1
    check_resources(config, ray.cluster_resources().get("CPU", 0.0), cluster=cluster)


def _check_sharing(config: ExperimentConfig) -> None:
    """Checks where a run leaves things behind, if there are several nodes."""
    if len(alive_nodes()) > 1:
        check_nodes(config)
        warn_of_lonely_file(config)
