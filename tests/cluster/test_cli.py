"""The commands `entrepot cluster …`, as they hand things on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import cli, connection, jobs
from cluster.description import ROOT, ClusterError
from cluster.jobs import Job

URL = "http://127.0.0.1:1"


class Desk:
    """Takes jobs and says that they succeeded, or failed."""

    submitted: list[tuple[list[str], list[str]]]
    status = "SUCCEEDED"

    def __init__(self, url: str) -> None:
        assert url == URL

    def submit(self, arguments: Sequence[str], *, job: str | None = None, modules: Sequence[str] = ()) -> str:
        """Writes down what is asked."""
        Desk.submitted.append((list(arguments), list(modules)))
        return job or "job-1"

    def get(self, job: str) -> Job:
        """Over."""
        return Job(job, Desk.status, "", 0 if Desk.status == "SUCCEEDED" else 3, "its message")

    def follow(self, job: str, write: object) -> Job:
        """Over."""
        return self.get(job)

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

    Desk.submitted, Desk.status = [], "SUCCEEDED"
    monkeypatch.setattr(connection, "connect", connect)
    monkeypatch.setattr(jobs, "Jobs", Desk)
    return Desk


def call(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `entrepot cluster …`."""
    result = CliRunner().invoke(cli.clusters, list(arguments))
    if isinstance(result.exception, ClusterError):
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
    """A run that is seen through is given a name to be resumed by, unless it has one; other commands are refused."""
    call("submit", URL, "--supervise", "--", "train", "cue")
    assert desk.submitted[0][0][2] == "--experiment"
    call("submit", URL, "--supervise", "--", "train", "cue", "--experiment=mine")
    assert desk.submitted[1][0] == ["train", "cue", "--experiment=mine"]
    for wrong in (["envs"], ["train", "cue", "--resume"]):
        with pytest.raises(ClusterError, match="allowed are train and sweep"):
            call("submit", URL, "--supervise", "--", *wrong)


def test_a_run_is_resumed_as_it_was_set_up() -> None:
    """Where it lies is said again; its settings are not, for `--resume` refuses them."""
    asked = ["train", "cue", "--seed", "3", "--set", "resources.storage=s3://bucket", "--set", "ppo.lr=0.1"]
    resuming = ["train", "cue", "--experiment", "mine", "--set", "resources.storage=s3://bucket", "--resume"]
    assert cli._resuming(asked, "mine") == resuming


def test_logs(desk: type[Desk]) -> None:
    """Without an id they are the newest job's."""
    assert call("logs", URL) == (0, "log of new\n")
    assert call("logs", URL, "old") == (0, "log of old\n")
