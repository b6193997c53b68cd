"""A small sweep: trials are proposed, stopped, ranked and tracked under one parent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from rllib_configs.space import SweepConfig, load_sweep
from tune import figures, history
from tune.events import Event, EventKind
from tune.ranking import ranking_table
from tune.sweep import SweepResult, configured, sweep

SAMPLES = 3


def plan() -> SweepConfig:
    """One hopeless value of the step size and one good one, and short trials."""
    tree = load_sweep("cue").model_dump(mode="json")
    tree |= {
        "iterations": 6,
        "grace": 2,
        "settings": {"evaluation.interval": 2, "evaluation.episodes": 16},
        "space": {
            "ppo.lr": {"kind": "choice", "values": [1e-9, 0.01]},
            "ppo.epochs": {"kind": "integer", "low": 2, "high": 4},
        },
    }
    return SweepConfig.model_validate(tree)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Path:
    """Where the sweep lies, and its records."""
    folder = tmp_path_factory.mktemp("sweeps")
    new_database(folder)
    return folder


@pytest.fixture(scope="module")
def heard() -> list[Event]:
    """What was told while the sweep ran."""
    return []


@pytest.fixture(scope="module")
def found(ray_local: None, folder: Path, heard: list[Event]) -> SweepResult:
    """A sweep of three trials."""
    overrides = [
        f"resources.results={folder}/results",
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
        "resources.cpus=2",
    ]
    return sweep(load("cue", overrides=overrides), plan(), samples=SAMPLES, name="s", listeners=[heard.append])


def test_trials_are_ranked_by_their_best_score(found: SweepResult) -> None:
    """Ranks count up as scores fall, and every trial says what it tried."""
    assert [trial.rank for trial in found.ranking] == [1, 2, 3]
    scores = [trial.score for trial in found.ranking]
    assert all(score is not None for score in scores)
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert all(set(trial.values) == {"ppo.lr", "ppo.epochs"} for trial in found.ranking)


def test_what_cannot_learn_ranks_below_what_can(found: SweepResult) -> None:
    """A vanishing step size leaves the untrained policy's score, and the winner learned."""
    assert found.ranking[0].values["ppo.lr"] == 0.01
    assert found.ranking[0].score is not None
    assert found.ranking[0].score > 0.6
    for trial in found.ranking:
        if trial.values["ppo.lr"] == 1e-9:
            assert trial.score is not None
            assert trial.score < 0.5, trial


def test_the_best_configuration_can_be_trained_with(found: SweepResult) -> None:
    """The file is complete and holds the winner's values and the sweep's settings."""
    config = load("cue", file=found.best)
    assert config.ppo.lr == found.ranking[0].values["ppo.lr"]
    assert config.ppo.epochs == found.ranking[0].values["ppo.epochs"]
    assert config.evaluation.interval == 2


def test_all_trials_lie_under_one_parent(found: SweepResult, folder: Path) -> None:
    """MLflow shows one parent run and a child a trial, with what it tried."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(parents), len(children)) == (1, SAMPLES)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    tried = sorted(trial.values["ppo.lr"] for trial in found.ranking)
    assert sorted(float(run.data.params["ppo.lr"]) for run in children) == tried


def test_every_trial_has_its_own_history(found: SweepResult, heard: list[Event]) -> None:
    """Rows on disk are what listeners heard, and no trial goes beyond its iterations."""
    for trial in found.ranking:
        rows = history.read(found.folder / f"trial_{trial.trial}")
        told = [e for e in heard if e.kind is EventKind.PROGRESS and e.trial == trial.trial]
        assert len(rows) == len(told) == trial.iterations <= 6
        assert rows[-1][figures.BEST] == trial.score


def test_the_ranking_is_a_table(found: SweepResult) -> None:
    """Every trial has a row."""
    from rich.console import Console

    console = Console(width=160, record=True)
    console.print(ranking_table(found))
    text = console.export_text()
    assert text.count("done") + text.count("stopped early") == SAMPLES
    assert f"--config {found.best}"[:30] in text


def test_a_sweep_without_evaluations_is_refused(tmp_path: Path) -> None:
    """Trials are ranked by score, so there must be one."""
    config = load("cue", overrides=[f"resources.results={tmp_path}"])
    blind = plan().model_copy(update={"settings": {"evaluation.interval": 0}})
    with pytest.raises(ConfigError, match=r"evaluation\.interval: got 0, allowed in a sweep is 1 or more"):
        sweep(config, blind, samples=1)


def test_no_samples_are_refused(tmp_path: Path) -> None:
    """At least one trial is needed."""
    with pytest.raises(ConfigError, match="samples: got 0"):
        sweep(load("cue", overrides=[f"resources.results={tmp_path}"]), plan(), samples=0)


def test_settings_of_the_sweep_are_those_of_every_trial() -> None:
    """The plan's iterations bound each trial."""
    assert configured(load("cue"), plan()).stop.iterations == 6
