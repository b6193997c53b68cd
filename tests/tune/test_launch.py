"""A run that could never be scheduled is refused, and Ray is kept quiet."""

from __future__ import annotations

import logging
import os

import pytest

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from tune.launch import check_resources, hush, local_cpus, needed_cpus


def test_more_runners_than_cpus_are_refused() -> None:
    """Tune would wait for ever; the line says how many may be asked for."""
    config = load("cue", overrides=["runners.num_env_runners=2"])
    assert needed_cpus(config) == 3
    check_resources(config, 3)
    with pytest.raises(ConfigError, match=r"runners.num_env_runners: got 2, which needs 3 CPUs .* allowed is 0 to 1"):
        check_resources(config, 2)


def test_on_a_cluster_one_runner_must_find_a_cpu_and_the_others_may_wait() -> None:
    """They join when nodes are added; without a CPU for the first of them nothing would ever be sampled."""
    config = load("cue", overrides=["runners.num_env_runners=50"])
    check_resources(config, 2, cluster=True)
    with pytest.raises(ConfigError, match=r"got 50, which needs 2 CPUs or more .* cluster has 1; allowed is 0, or a"):
        check_resources(config, 1, cluster=True)
    check_resources(load("cue"), 1, cluster=True)
    with pytest.raises(ConfigError, match=r"got 0, which needs 1 CPUs or more .* cluster has 0; allowed is a cluster"):
        check_resources(load("cue"), 0, cluster=True)


def test_defaults_fit_two_cpus() -> None:
    """What comes along runs on a small machine."""
    for domain in ("cue", "trading"):
        check_resources(load(domain), 2)
    assert local_cpus() >= 1


def test_hushing_leaves_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are set win; Ray's loggers speak of errors only."""
    monkeypatch.setenv("RAY_DEDUP_LOGS", "1")
    monkeypatch.delenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", raising=False)
    hush()
    assert os.environ["RAY_DEDUP_LOGS"] == "1"
    assert os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1"
    assert logging.getLogger("ray").level >= logging.ERROR
