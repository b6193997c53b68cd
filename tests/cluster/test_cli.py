"""The commands `entrepot cluster …`, as they hand things on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from cluster import cli, connection, jobs, launcher, nodes
from cluster.description import ROOT, ClusterError, ClusterFile
from cluster.jobs import Job
from cluster.supervise import Watch

URL = "http://127.0.0.1:1"


class Desk:
    """Takes jobs and says that they succeeded, or failed."""

    submitted: list[tuple[list[str], list[str]]]
    sources: list[Path | None]
    stopped: list[str]
    names: list[str]
    status = "SUCCEEDED"

    def __init__(self, url: str, sources: Path | None = None) -> None:
        assert url == URL
        Desk.sources.append(sources)

    def submit(self, arguments: Sequence[str], *, job: str | None = None, modules: Sequence[str] = ()) -> str:
        """Writes down what is asked."""
        Desk.submitted.append((list(arguments), list(modules)))
        Desk.names.append(job or "job-1")
        return job or "job-1"

    def stop(self, job: str) -> None:
        """Writes down what is asked."""
        Desk.stopped.append(job)

    def get(self, job: str) -> Job | None:
        """Over, once it was submitted."""
        return self.over(job) if job in Desk.names else None

    def over(self, job: str) -> Job:
        """How it ended."""
        return Job(job, Desk.status, "", 0 if Desk.status == "SUCCEEDED" else 3, "its message")

    def follow(self, job: str, write: object) -> Job:
        """Over."""
        return self.over(job)

    def list(self) -> list[Job]:
        """Two."""
        return [Job("new", "RUNNING", "train cue", started=2000), Job("old", "FAILED", "envs", started=1000)]

    def logs(self, job: str) -> str:
        """Which job's they are."""
        return f"log of {job}\n"


@pytest.fixture(autouse=True)
def desk(monkeypatch: pytest.MonkeyPatch) -> type[Desk]:
    """The jobs of a cluster that is always there."""

    @contextmanager
    def connect(target: str, **options: float) -> Iterator[str]:
        yield target

    Desk.submitted, Desk.sources, Desk.stopped, Desk.names, Desk.status = [], [], [], [], "SUCCEEDED"
    monkeypatch.setattr(connection, "connect", connect)
    monkeypatch.setattr(jobs, "Jobs", Desk)
    return Desk


def call(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `entrepot cluster …`."""
    result = CliRunner().invoke(cli.clusters, list(arguments))
    if isinstance(result.exception, ValueError):
        raise result.exception
    return result.exit_code, result.output


def test_arguments_arrive_as_they_are(desk: type[Desk]) -> None:
    """What follows `--` is handed on, blanks, quotes and options included."""
    asked = ["train", "trading", "--set", "tracking.model=my model's", "--seed", "3"]
    code, output = call("submit", URL, "--", *asked)
    assert code == 0
    assert desk.submitted == [(asked, [])]
    assert "job-1" in output


def test_a_users_domain_is_sent_along(desk: type[Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain given by its address, and modules that are named, go with the job."""
    monkeypatch.chdir(tmp_path)
    call("submit", URL, "--module", "extra", "--", "train", "mine.env:DOMAIN")
    assert desk.submitted[0][1] == ["extra", "mine.env:DOMAIN"]


def test_files_must_be_among_what_is_sent(desk: type[Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the repository is named as it lies there; another would be missing on the cluster, and is refused."""
    monkeypatch.chdir(ROOT / "rllib_configs")
    call("submit", URL, "--", "train", "trading", "--config", "base_ppo.yaml", "--set", "curriculum=base_ppo.yaml")
    assert desk.submitted[0][0][3:] == [
        "rllib_configs/base_ppo.yaml",
        "--set",
        "curriculum=rllib_configs/base_ppo.yaml",
    ]
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "mine.yaml"
    outside.write_text("")
    with pytest.raises(ClusterError, match="not sent to the cluster"):
        call("submit", URL, "--", "train", "trading", "--config", "mine.yaml")
    call("submit", URL, "--", "train", "trading", "--config", str(outside))
    assert desk.submitted[1][0][3] == str(outside), "an absolute path is the head's"


def test_a_failed_job_fails_the_command(desk: type[Desk]) -> None:
    """Its exit code is the job's, and its message is told."""
    desk.status = "FAILED"
    code, output = call("submit", URL, "--", "train", "cue")
    assert code == 3
    assert "its message" in output
    assert call("submit", URL, "--detach", "--", "train", "cue") == (0, "job-1\n")


def test_supervised_runs_have_a_name(desk: type[Desk]) -> None:
    """A run that is seen through is given a name to be resumed by, unless it has one; it is sent as a copy."""
    place = ["--set", "resources.results=/mnt/results"]
    call("submit", URL, "--supervise", "--", "train", "cue", *place)
    assert desk.submitted[0][0][-2] == "--experiment"
    call("submit", URL, "--supervise", "--", "train", "cue", "--experiment=mine", *place)
    assert desk.submitted[1][0] == ["train", "cue", "--experiment=mine", *place]
    assert all(sources is not None and sources.name == "repository" for sources in desk.sources)
    with pytest.raises(ClusterError, match="got no place for results"):
        call("submit", URL, "--supervise", "--", "train", "cue")
    with pytest.raises(ValueError, match="experiment: got 'team/mine'"):
        call("submit", URL, "--supervise", "--", "train", "cue", "--experiment", "team/mine", *place)
    with pytest.raises(ClusterError, match="--supervise: got it with --detach"):
        call("submit", URL, "--supervise", "--detach", "--", "train", "cue", *place)


def test_a_try_takes_no_longer_than_the_head_may_be_away(
    cluster_file: Callable[..., ClusterFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sees a run through gives a tunnel up in time to start the cluster again; Ray's own tunnels get longer."""
    asked: list[float] = []

    @contextmanager
    def connect(target: str, *, patience: float) -> Iterator[str]:
        asked.append(patience)
        yield URL

    monkeypatch.setattr(connection, "connect", connect)
    for target in (str(cluster_file().path), URL):
        call("submit", target, "--supervise", "--", "train", "cue", "--set", "resources.results=/mnt/results")
    assert asked == [Watch().grace, connection.PATIENCE]


def test_a_job_is_stopped(desk: type[Desk]) -> None:
    """By its id."""
    code, output = call("stop", URL, "job-1")
    assert (code, desk.stopped) == (0, ["job-1"])
    assert "job-1" in output


@pytest.mark.parametrize(
    ("outcomes", "code", "told"),
    [
        ({}, 0, ["all machines of the file are in the cluster"]),
        ({"10.0.0.2": ""}, 0, ["10.0.0.2: joined"]),
        ({"10.0.0.2": "", "10.0.0.3": "failed, unplugged"}, 1, ["10.0.0.2: joined", "10.0.0.3: failed, unplugged"]),
    ],
)
def test_of_each_machine_that_was_missing_it_is_told(
    cluster_file: Callable[..., ClusterFile],
    monkeypatch: pytest.MonkeyPatch,
    outcomes: dict[str, str],
    code: int,
    told: list[str],
) -> None:
    """Whether it has joined, or why not; the command fails if one has not."""
    monkeypatch.setattr(nodes, "bring_back", lambda cluster, url: outcomes)
    assert call("join", str(cluster_file().path)) == (code, "".join(f"{line}\n" for line in told))


def test_what_to_type_next_works(cluster_file: Callable[..., ClusterFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that is up says so, with a command whose results outlive the job."""
    monkeypatch.setattr(launcher, "up", lambda cluster, tls: None)
    monkeypatch.setattr(nodes, "await_nodes", lambda cluster, wait: 1)
    code, output = call("up", str(cluster_file().path))
    assert code == 0
    assert "1 of 2 nodes are up; those that are missing may still join" in output
    assert "--set resources.results=/mnt/results --set tracking.uri=" in output


def test_logs(desk: type[Desk]) -> None:
    """Without an id they are the newest job's."""
    assert call("logs", URL) == (0, "log of new\n")
    assert call("logs", URL, "old") == (0, "log of old\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_tunnel_does_not_outlive_its_command(
    stand_ins: Any, cluster_file: Callable[..., ClusterFile], number: signal.Signals
) -> None:
    """Whoever ends the command, or closes its terminal, ends the tunnel that it holds open."""
    command = [sys.executable, str(ROOT / "entrepot.py"), "cluster", "status", str(cluster_file().path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
        deadline = time.monotonic() + 60
        while not stand_ins.calls:  # the tunnel stands, and nobody answers through it
            assert time.monotonic() < deadline, "no tunnel was opened"
            time.sleep(0.05)
        (tunnel,) = psutil.Process(asked.pid).children()
        asked.send_signal(number)
        assert asked.wait(30) == 128 + number
    assert not tunnel.is_running()
