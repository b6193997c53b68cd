"""MLflow gets everything once, in batches, and never costs a run."""

from __future__ import annotations

import logging
import pickle
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from tune import paths
from tune.figures import AGENT_STEPS
from tune.tracking import (
    MAX_KEY,
    MAX_METRICS,
    MAX_VALUE,
    RUNS,
    TrackingCallback,
    flatten,
    metrics_of,
    params_of,
    sanitise,
)
from tune.tracking_uri import absolute_uri, artifact_root, check_server, warn_of_lonely_file


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> str:
    """A SQLite store for all tests here."""
    return new_database(tmp_path_factory.mktemp("mlflow"))


def trial(name: str, **overrides: object) -> Any:
    """What Tune hands to callbacks."""
    return SimpleNamespace(trial_id=name, config={"overrides": overrides})


def play(callback: TrackingCallback, *trials: Any, steps: tuple[int, ...] = (10, 20)) -> None:
    """A whole experiment."""
    callback.setup()
    for one in trials:
        callback.on_trial_start(0, [], one)
        for step in steps:
            callback.on_trial_result(0, [], one, {AGENT_STEPS: step, "a@b#c": step / 2, "nested": {"x": 1}})
        callback.on_trial_complete(0, [], one)
    callback.on_experiment_end([])


def runs_of(uri: str, experiment: str) -> list[Any]:
    """All runs of an MLflow experiment."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def test_a_run_is_written_down(uri: str, tmp_path: Path) -> None:
    """Settings become parameters, figures metrics at their agent-steps, and the run ends as finished."""
    play(TrackingCallback(uri, "one", tmp_path, {"ppo": {"lr": 0.1}, "seed": 3}), trial("t"))
    (run,) = runs_of(uri, "one")
    assert run.data.params == {"ppo.lr": "0.1", "seed": "3"}
    assert run.data.metrics["a_b_c"] == 10.0
    assert run.info.status == "FINISHED"
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "nested/x")
    assert [point.step for point in history] == [10, 20]
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(artifact_root(uri) or "")


def test_a_restored_experiment_goes_on_in_the_same_run(uri: str, tmp_path: Path) -> None:
    """A second process finds the run's id beside the results, though settings of the trial have changed since."""
    first = TrackingCallback(uri, "two", tmp_path, {"seed": 3})
    again = pickle.loads(pickle.dumps(first))
    play(first, trial("t"), steps=(10,))
    play(again, trial("t", seed=4), steps=(20,))
    (run,) = runs_of(uri, "two")
    assert run.data.params == {"seed": "3"}
    steps = [point.step for point in MlflowClient(uri).get_metric_history(run.info.run_id, "nested/x")]
    assert steps == [10, 20]


def test_a_run_whose_store_is_gone_is_begun_anew(uri: str, tmp_path: Path) -> None:
    """Another machine goes on, and its SQLite file knows neither the run nor the sweep above it."""
    first = TrackingCallback(uri, "gone", tmp_path, {"seed": 3}, parent="sweep")
    play(first, trial("t"), steps=(10,))
    store = MlflowClient(uri)
    for run in runs_of(uri, "gone"):
        store._tracking_client.store._hard_delete_run(run.info.run_id)
    play(TrackingCallback(uri, "gone", tmp_path, {"seed": 3}, parent="sweep"), trial("t"), steps=(20,))
    runs = {run.info.run_name: run for run in runs_of(uri, "gone")}
    assert runs["trial t"].data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
    assert runs["trial t"].data.metrics["a_b_c"] == 10.0


def test_records_go_where_the_run_lies_now(uri: str, tmp_path: Path) -> None:
    """A restored callback remembers the folder of another machine, which is not made here."""
    callback = pickle.loads(pickle.dumps(TrackingCallback(uri, "moved", Path("/elsewhere/moved"), {})))
    paths.settle(tmp_path / "moved")
    play(callback, trial("t"))
    assert (tmp_path / "moved" / RUNS).is_file()
    assert not Path("/elsewhere").exists()


def test_trials_of_a_sweep_lie_under_one_parent(uri: str, tmp_path: Path) -> None:
    """Each trial's own values are its parameters, and all name the same parent."""
    callback = TrackingCallback(uri, "three", tmp_path, {"ppo": {"lr": 1}}, parent="sweep")
    play(callback, trial("a", **{"ppo.lr": 2}), trial("b", **{"ppo.lr": 3}))
    runs = {run.info.run_name: run for run in runs_of(uri, "three")}
    parent = runs.pop("sweep")
    assert sorted(run.data.params["ppo.lr"] for run in runs.values()) == ["2", "3"]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"


def test_a_server_that_is_down_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised, and the warning comes once however much is lost."""
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "entrepot"):
        play(TrackingCallback(f"sqlite:///{tmp_path}/file/mlflow.db", "four", tmp_path, {}), trial("t"))
    assert len([record for record in caplog.records if "training goes on" in record.message]) == 1
    assert not (tmp_path / RUNS).exists()


@given(st.text(min_size=1))
def test_any_key_becomes_one_that_mlflow_takes(key: str) -> None:
    """Only allowed characters are left, and not too many."""
    from mlflow.utils.validation import _validate_metric_name

    clean = sanitise(key)
    assert len(clean) <= MAX_KEY
    if clean.strip(" ./") and "//" not in clean and "./" not in clean and "/." not in clean:
        _validate_metric_name(clean)


def test_only_finite_numbers_are_metrics_and_at_most_a_batch() -> None:
    """Text, arrays, NaN and Tune's own bookkeeping are left out; flat figures come first."""
    result = {
        "eval_score": np.float32(0.5),
        "nan": float("nan"),
        "text": "x",
        "array": np.zeros(3),
        "pid": 7,
        "config": {"lr": 1},
        "many": {f"m{index}": index for index in range(2 * MAX_METRICS)},
    }
    metrics = metrics_of(result)
    assert len(metrics) == MAX_METRICS
    assert next(iter(metrics)) == "eval_score"
    assert all(key == "eval_score" or key.startswith("many/") for key in metrics)


def test_parameters_stay_within_mlflows_limits() -> None:
    """Long values are cut, nested keys joined, an empty mapping kept as a value."""
    params = params_of({"a": {"b": "x" * 2 * MAX_VALUE}, "empty": {}})
    assert len(params["a.b"]) == MAX_VALUE
    assert params["empty"] == "{}"
    assert flatten({"a": {"b": 1}}, "/") == {"a/b": 1}


def test_relative_sqlite_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial runs in another folder; servers' addresses are left alone."""
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri(f"sqlite:///{tmp_path}/x.db") == f"sqlite:///{tmp_path}/x.db"
    assert absolute_uri("http://tracking:5000") == "http://tracking:5000"
    assert artifact_root("http://tracking:5000") is None


def test_a_server_that_does_not_answer_is_refused_before_anything_starts() -> None:
    """The line names it; whatever a server answers, and every file, is left to MLflow."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=rf"^tracking.uri: got '{url}', no server answers there \(.*refused"):
            check_server(url)
        with pytest.raises(ConfigError, match=r"^tracking.uri: got 'http://user:…@127.0.0.1") as told:
            check_server(url.replace("//", "//user:secret@"))
        assert "secret" not in str(told.value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # says 501 to everything
    threading.Thread(target=server.serve_forever, daemon=True).start()
    check_server(f"http://user:secret@127.0.0.1:{server.server_port}/mlflow")
    server.shutdown()
    server.server_close()
    check_server("sqlite:///mlflow.db")


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"tracking.uri": "sqlite:////home/me/mlflow.db"}, True),
        ({"tracking.uri": "sqlite:////shared/results/mlflow.db"}, False),
        ({"tracking.uri": "sqlite:////shared/results/mlflow.db", "resources.storage": "s3://bucket/runs"}, True),
        ({"tracking.uri": "http://tracking:5000"}, False),
        ({"tracking.uri": "sqlite:////home/me/mlflow.db", "tracking.enabled": False}, False),
    ],
)
def test_a_file_of_one_node_is_warned_of(
    changes: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless it lies in the folder that was found to be shared, or nothing is tracked."""
    with caplog.at_level(logging.WARNING, "entrepot"):
        warn_of_lonely_file(load("cue", values={"resources.results": "/shared/results", **changes}))
    assert len(caplog.records) == warned
