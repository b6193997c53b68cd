"""What the driver writes is kept in step with storage, and a run goes on from there on a machine that has nothing."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from rllib_configs.schema import ExperimentConfig
from rllib_configs.space import SweepConfig, load_sweep
from tune import figures, history, mirror, paths
from tune.events import Event, EventKind, ask_to_stop, forget_asking
from tune.experiment import InterruptedTrainingError, train
from tune.finish import Finished, run
from tune.mirror import STAMP, Mirror
from tune.preflight import prepare
from tune.storage import Storage, StorageError
from tune.sweep import SweepResult, sweep

ITERATIONS = 8


@pytest.fixture
def storage(new_bucket: Callable[[], str]) -> Storage:
    """Storage that is empty."""
    return Storage(new_bucket())


def listed(folder: Path) -> dict[str, bytes]:
    """All files of a folder and what they hold, without the stamp."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != STAMP
    }


def write(folder: Path, **files: str) -> Path:
    """Writes files, dots in their names as slashes; returns the folder."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_is_made_anew_elsewhere(storage: Storage, tmp_path: Path) -> None:
    """All that the driver wrote arrives, nested too; checkpoints and half-written files are not its business."""
    here = write(tmp_path / "one" / "run", config="c", bundle__manifest="m", trial_a__history="h")
    Mirror(storage, here).push()
    write(here, trial_a__checkpoint_000001__weights="w")
    (here / ".config.half").write_text("x")
    Mirror(storage, here).push()
    there = tmp_path / "two" / "run"
    assert Mirror(storage, there).pull()
    assert listed(there) == {"config": b"c", "bundle/manifest": b"m", "trial_a/history": b"h"}
    assert not Mirror(storage, there).pull()


def test_only_what_has_changed_is_written(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a process that was started anew knows what is in step."""
    folder = write(tmp_path / "run", config="c", history="1")
    Mirror(storage, folder).push()
    written: list[str] = []
    monkeypatch.setattr(Storage, "write", lambda self, path, content: written.append(path.rpartition("/")[2]))
    Mirror(storage, folder).push()
    assert written == []
    (folder / "history").write_text("1 2")
    Mirror(storage, folder).push()
    assert written == ["history", STAMP]


def test_the_side_that_went_on_wins(storage: Storage, tmp_path: Path) -> None:
    """A folder that is behind is fetched, whatever the clocks say; one that is ahead is left alone."""
    first, second = tmp_path / "one" / "run", tmp_path / "two" / "run"
    Mirror(storage, write(first, history="1", config="c")).push()
    Mirror(storage, second).pull()
    Mirror(storage, write(second, history="1 2")).push()
    write(first, history="1 of a process that was killed")
    os.utime(first / "history", (2e9, 2e9))
    assert Mirror(storage, first).pull()
    assert listed(first) == {"history": b"1 2", "config": b"c"}
    write(first, history="1 2 3")
    assert not Mirror(storage, first).pull()
    assert listed(first)["history"] == b"1 2 3"


def test_it_keeps_step_at_checkpoints_and_else_now_and_then(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two results in a row are one step; a checkpoint never waits, as its history must be there with it."""
    folder = write(tmp_path / "run", history="1")
    keeper, pushed = Mirror(storage, folder), list[float]()
    monkeypatch.setattr(Mirror, "push", lambda self: pushed.append(time.monotonic()))
    for kind in (EventKind.PROGRESS, EventKind.PROGRESS, EventKind.CHECKPOINT, EventKind.PROGRESS, EventKind.TRAINED):
        keeper.hear(Event(kind, "run"))
    assert len(pushed) == 3
    monkeypatch.setattr(mirror, "EVERY", 0.0)
    keeper.hear(Event(EventKind.PROGRESS, "run"))
    assert len(pushed) == 4


def test_storage_that_is_down_costs_one_warning_and_no_training(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is written when storage is back; only at the end does it fail."""
    folder = write(tmp_path / "run", history="1")
    keeper = Mirror(storage, folder)
    with monkeypatch.context() as down:

        def refuse(*arguments: Any) -> None:
            raise OSError("no route to host")

        down.setattr(Storage, "write", refuse)
        with caplog.at_level(logging.WARNING, "entrepot"):
            for _ in range(3):
                keeper.hear(Event(EventKind.CHECKPOINT, "run"))
        with pytest.raises(StorageError, match="no route to host"):
            keeper.push()
    (warning,) = [record.message for record in caplog.records if record.name == "entrepot"]
    assert "training goes on" in warning
    keeper.hear(Event(EventKind.CHECKPOINT, "run"))
    assert Mirror(storage, tmp_path / "two" / "run").pull()


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Iterator[str]:
    """URL of an MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options = ["--backend-store-uri", new_database(folder), "--artifacts-destination", str(folder / "files")]
    server = subprocess.Popen(
        [*command, *options],
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # else eight more processes
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(f"{url}/health")
            break
        except httpx.HTTPError:
            assert server.poll() is None
            time.sleep(0.1)
    yield url
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(20)


@pytest.fixture(scope="module")
def uri(new_bucket: Callable[[], str]) -> str:
    """Storage of the module's runs."""
    return new_bucket()


def config(results: Path, uri: str, **changes: Any) -> ExperimentConfig:
    """An experiment of seconds with results in a folder, and storage."""
    values = {"resources.results": str(results), "resources.storage": uri, "tracking.enabled": False}
    look = {"evaluation.interval": 4, "evaluation.episodes": 16, "evaluation.final_episodes": 16}
    return load("cue", values={"stop.iterations": ITERATIONS, "checkpoint.interval": 1, **look, **values, **changes})


@pytest.fixture(scope="module")
def lost(ray_local: None, uri: str, tracking: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The history of a run that was stopped at its third checkpoint, and whose machine is gone.

    Tune keeps two checkpoints, so it noted at the second one where the run was.
    """
    results, checkpoints = tmp_path_factory.mktemp("lost"), list[Event]()

    def hear(event: Event) -> None:
        checkpoints.extend([event] if event.kind is EventKind.CHECKPOINT else [])
        if len(checkpoints) == 3:
            ask_to_stop("moved")

    changes = {"tracking.enabled": True, "tracking.uri": tracking, "checkpoint.keep": 2}
    with pytest.raises(InterruptedTrainingError):
        train(config(results, uri, **changes), name="moved", listeners=[hear])
    forget_asking("moved")
    rows = history.read(results / "moved")
    shutil.rmtree(results)
    return rows


@pytest.fixture(scope="module")
def finished(lost: list[dict[str, Any]], uri: str, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same run, gone on with where nothing was known of it but its storage."""
    return run(config(tmp_path_factory.mktemp("found"), uri), resume=True, quiet=True)


@pytest.mark.timeout(400)
def test_a_run_goes_on_from_storage_alone(lost: list[dict[str, Any]], finished: Finished) -> None:
    """The domain's latest is found there; its history is whole, and what lay before the checkpoint is not repeated."""
    assert finished.name == "moved"
    assert 3 <= len(lost) < ITERATIONS
    assert [row[figures.ITERATION] for row in finished.history] == list(range(1, ITERATIONS + 1))
    assert finished.history[:2] == lost[:2]
    assert finished.best_eval_score is not None


def test_what_comes_after_training_finds_its_files_here(finished: Finished) -> None:
    """The checkpoints were fetched, the bundle and the report are where they always are."""
    names = [path.name for path in finished.folder.glob("trial_*/checkpoint_*")]
    assert 1 <= len(names) <= 2  # the best and the last
    assert finished.bundle.is_dir()
    assert finished.report is not None
    assert finished.report.is_file()


def test_the_run_was_tracked_by_url(finished: Finished, tracking: str) -> None:
    """Both halves are one MLflow run, and the server holds the model's files."""
    assert (finished.note, finished.version) == ("", 1)
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("moved")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert len(client.get_metric_history(tracked.info.run_id, figures.AGENT_STEPS)) >= ITERATIONS
    assert client.list_artifacts(tracked.info.run_id)


def test_storage_holds_all_that_the_folder_does(finished: Finished, uri: str, tmp_path: Path) -> None:
    """A third machine gets the same files, and finds that nothing is left to train."""
    shutil.rmtree(finished.folder / "bundle")
    result = train(config(tmp_path, uri), name="moved", resume=True)
    assert result.stopped_by == finished.stopped_by
    assert result.checkpoint.is_dir()
    assert result.last_checkpoint.is_dir()
    there = set(listed(result.folder))
    assert {"config.yaml", "history.jsonl", "report.html", "finished.json", "bundle/manifest.json"} <= there
    assert not [name for name in there if name.endswith(".pkl") and "checkpoint_" not in name]


def test_a_name_that_storage_knows_is_taken(finished: Finished, uri: str, tmp_path: Path) -> None:
    """Nothing is overwritten by a machine that knows nothing of it, and a name nobody knows is told."""
    with pytest.raises(ConfigError, match="experiment: got 'moved', which exists in s3://"):
        prepare(config(tmp_path, uri), "moved")
    with pytest.raises(ConfigError, match=r"experiment: got 'move' \(did you mean moved\?\)"):
        prepare(config(tmp_path, uri), "move", resume=True)


def test_storage_that_does_not_hold_the_run_is_refused(uri: str, tmp_path: Path) -> None:
    """Training would begin from nothing, as Tune finds nothing there."""
    (tmp_path / "mine").mkdir()
    paths.save_config(tmp_path / "mine", config(tmp_path, uri, **{"resources.storage": None}))
    with pytest.raises(ConfigError, match=r"which does not hold 'mine'; allowed is null, where that run is kept"):
        prepare(config(tmp_path, uri), "mine", resume=True)
    assert (
        prepare(load("cue", values={"resources.results": str(tmp_path)}), "mine", resume=True)[1] == tmp_path / "mine"
    )


@pytest.mark.timeout(400)
def test_a_sweep_is_kept_in_storage_too(ray_local: None, uri: str, tmp_path: Path) -> None:
    """Its ranking comes out again on a machine that has nothing of it."""
    tree = load_sweep("cue").model_dump(mode="json") | {
        "iterations": 2,
        "grace": 1,
        "settings": {"evaluation.interval": 1, "evaluation.episodes": 16},
        "space": {"ppo.lr": {"kind": "choice", "values": [0.001, 0.01]}},
    }
    plan = SweepConfig.model_validate(tree)

    def search(folder: str, **options: Any) -> SweepResult:
        return sweep(config(tmp_path / folder, uri), plan, samples=2, name="searched", **options)

    found = search("one")
    shutil.rmtree(tmp_path / "one")
    again = search("two", resume=True)
    assert [(trial.trial, trial.score) for trial in again.ranking] == [
        (trial.trial, trial.score) for trial in found.ranking
    ]
    assert again.best.is_relative_to(tmp_path / "two")
    for trial in again.ranking:
        assert len(history.read(again.folder / f"trial_{trial.trial}")) == trial.iterations
