"""What is refused before Ray is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from tune import paths, preflight
from tune.joining import VARIABLE, address_file
from tune.preflight import JOB_FOLDER, prepare


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cluster nor a Ray of this process is there."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(preflight, "initialised", lambda: False)


def test_the_folder_of_a_job_holds_no_results(tmp_path: Path) -> None:
    """Ray deletes it with the job; with storage it only holds what lies there too."""
    folder = tmp_path / "session" / JOB_FOLDER / "_ray_pkg_1" / "results"
    with pytest.raises(ConfigError, match=r"^resources.results: got '.*', which Ray deletes with the job; allowed is"):
        prepare(load("cue", values={"resources.results": str(folder)}))
    stored = {"resources.results": str(folder), "resources.storage": f"file://{tmp_path}/storage"}
    assert prepare(load("cue", values=stored), "mine")[1] == folder / "mine"


def test_the_folder_of_a_job_holds_no_records(tmp_path: Path) -> None:
    """Nor those of MLflow, which would be gone with the models in them."""
    elsewhere = {"resources.results": str(tmp_path / "results")}
    file = f"sqlite:///{tmp_path}/session/{JOB_FOLDER}/_ray_pkg_1/mlflow.db"
    with pytest.raises(ConfigError, match=r"^tracking.uri: got 'sqlite:.*', a file that Ray deletes with the job"):
        prepare(load("cue", values={**elsewhere, "tracking.uri": file}), "mine")
    prepare(load("cue", values={**elsewhere, "tracking.uri": file, "tracking.enabled": False}), "mine")
    prepare(load("cue", values={**elsewhere, "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db"}), "mine")


def test_this_machines_cpus_count_only_where_no_cluster_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head runs drivers without RAY_ADDRESS, and may have less CPUs than the cluster."""
    config = load("cue", values={"resources.results": str(tmp_path / "results"), "runners.num_env_runners": 500})
    with pytest.raises(ConfigError, match="got 500, which needs 501 CPUs"):
        prepare(config)
    address_file().parent.mkdir()
    address_file().write_text("10.0.0.2:6379")
    prepare(config)
    address_file().unlink()
    monkeypatch.setenv(VARIABLE, "10.0.0.2:6379")
    prepare(config)
    monkeypatch.setenv(VARIABLE, "local")
    with pytest.raises(ConfigError, match="got 500"):
        prepare(config)


def test_a_run_that_goes_on_lies_where_it_is_found(tmp_path: Path) -> None:
    """Its configuration was written where its results had another path."""
    folder = tmp_path / "here" / "mine"
    folder.mkdir(parents=True)
    paths.save_config(folder, load("cue", values={"resources.results": "/elsewhere", "ppo.lr": 0.25}))
    config, found = prepare(load("cue", values={"resources.results": str(folder.parent)}), "mine", resume=True)
    assert (found, config.resources.results, config.ppo.lr) == (folder, str(folder.parent), 0.25)


def test_a_tracking_server_must_answer_when_a_run_begins_but_not_when_it_goes_on(tmp_path: Path) -> None:
    """A run that a cluster takes up again by itself is not stopped by a server that is down."""
    dead = {"resources.results": str(tmp_path / "results"), "tracking.uri": "http://127.0.0.1:1"}
    config = load("cue", values=dead)
    with pytest.raises(ConfigError, match=r"^tracking.uri: got 'http://127.0.0.1:1', no server answers there"):
        prepare(config, "mine")
    (tmp_path / "results" / "mine").mkdir()
    paths.save_config(tmp_path / "results" / "mine", config)
    prepare(config, "mine", resume=True)
