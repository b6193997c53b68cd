"""On a cluster of two nodes: what all share is taken, what they do not is refused in one line that names the node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(one_at_a_time: FileLock) -> Iterator[dict[str, str]]:
    """The environment of a driver on the head: the cluster is announced there, and wants a token."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: Ray's sockets lie below it
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ray = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 32, "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**inherited, **ray, "PYTHONPATH": str(ROOT)}
    with one_at_a_time:
        nodes = subprocess.Popen(
            [sys.executable, str(HERE / "two_nodes.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert nodes.stdout is not None
        assert ":" in nodes.stdout.readline()
    yield environment
    nodes.communicate(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


def drive(environment: dict[str, str], folder: Path, uri: str) -> subprocess.Popen[str]:
    """Starts a driver."""
    command = [sys.executable, str(HERE / "probing.py"), str(folder / "results"), uri]
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def strangers(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[subprocess.Popen[str]]:
    """Drivers with a wrong token and with none; Ray takes 20 s to give up on the first, while others are at work."""
    folder = tmp_path_factory.mktemp("strangers")
    wrong = {**cluster, "RAY_AUTH_TOKEN": "b" * 32}
    missing = {name: value for name, value in cluster.items() if name != "RAY_AUTH_TOKEN"} | {"HOME": str(folder)}
    return [drive(environment, folder, "file:///unused") for environment in (wrong, missing)]


@pytest.fixture(scope="module")
def told(
    cluster: dict[str, str],
    strangers: list[subprocess.Popen[str]],
    new_bucket: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What a driver found out; it was started without RAY_ADDRESS, as by `ray submit`."""
    driver = drive(cluster, tmp_path_factory.mktemp("driver"), new_bucket())
    output, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, errors
    return dict(json.loads(output))


@pytest.mark.timeout(300)
def test_the_cluster_that_ray_start_announced_is_joined(told: dict[str, Any]) -> None:
    """More runners are asked for than both nodes have CPUs: they join when nodes do."""
    assert told["cpus"] == 2


def test_what_every_node_sees_is_taken(told: dict[str, Any]) -> None:
    """The folder was taken, or no Ray would have been there; so is storage that every node can write to."""
    assert told["stored"] == ""


def test_a_node_that_does_not_share_the_folder_is_named(told: dict[str, Any]) -> None:
    """The line says what to do, whether the folder is missing there or is another one."""
    for line in (told["not_shared"], told["empty_there"]):
        assert line.startswith("resources.results: got '/")
        assert "does not share (No such file or directory); allowed is a folder that every node mounts (NFS)" in line
        assert "resources.storage=s3://" in line


def test_a_node_that_cannot_write_to_storage_is_named(told: dict[str, Any]) -> None:
    """With the file system's own reason."""
    assert told["not_stored"].startswith("resources.storage: got 's3://bucket")
    assert "cannot write to (" in told["not_stored"]


def test_asking_leaves_nothing_behind(told: dict[str, Any]) -> None:
    """Neither in the folder nor in the other one of its name."""
    assert told["left"] == ["here"]


def test_records_in_a_file_of_one_node_are_worth_a_warning(told: dict[str, Any]) -> None:
    """Once, and the run goes on."""
    (warning,) = told["warnings"]
    assert warning.startswith("tracking.uri: /nowhere/mlflow.db is a file of this node")


@pytest.mark.timeout(300)
def test_a_driver_without_the_token_gets_one_line(strangers: list[subprocess.Popen[str]]) -> None:
    """A wrong and a missing token end in the same line, which says where it belongs."""
    for driver in strangers:
        _, errors = driver.communicate(timeout=200)
        assert driver.returncode == 1
        last = errors.strip().splitlines()[-1]
        assert last.startswith("rllib_configs.errors.ConfigError: RAY_AUTH_MODE: the cluster ")
        assert last.endswith("with the cluster's own token in ~/.ray/auth_token")
