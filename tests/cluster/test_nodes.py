"""The nodes of a cluster, as we ask for them; the cluster itself is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import nodes
from cluster.connection import UnreachableError
from cluster.description import ClusterError, ClusterFile
from serve.ports import free_ports

URL = "http://127.0.0.1:1"


def cluster_of(*workers: str) -> ClusterFile:
    """A cluster on premises."""
    provider = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": list(workers)}
    return ClusterFile(Path("/nowhere/mine.yaml"), {"cluster_name": "mine", "provider": provider})


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The machines that are in the cluster; time passes at once, and a way to it is always there."""
    here = {"10.0.0.1"}
    clock = iter(range(10_000))

    @contextmanager
    def connect(target: str, **options: float) -> Iterator[str]:
        yield URL

    monkeypatch.setattr(nodes, "connect", connect)
    monkeypatch.setattr(nodes, "alive", lambda url: set(here))
    monkeypatch.setattr(nodes.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(nodes.time, "monotonic", lambda: float(next(clock)))
    return here


def test_machines_that_are_missing_join(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in the file and not in the cluster are set up, all at once; why one still is not is told."""
    asked: list[list[str]] = []

    def join(cluster: ClusterFile, workers: Sequence[str]) -> dict[str, str]:
        asked.append(list(workers))
        present.add("10.0.0.3")
        return {"10.0.0.3": "", "10.0.0.4": "failed, unplugged", "10.0.0.5": ""}

    monkeypatch.setattr(nodes, "join", join)
    present.add("10.0.0.2")
    outcomes = nodes.bring_back(cluster_of("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"), URL)
    assert asked == [["10.0.0.3", "10.0.0.4", "10.0.0.5"]]
    assert outcomes.keys() == {"10.0.0.3", "10.0.0.4", "10.0.0.5"}
    assert outcomes["10.0.0.3"] == ""
    assert outcomes["10.0.0.4"] == "failed, unplugged"
    assert "not in the cluster" in outcomes["10.0.0.5"]
    assert nodes.bring_back(cluster_of("10.0.0.2"), URL) == {}


def test_a_name_is_as_good_as_an_address(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is there is not set up again because its file calls it otherwise than Ray does."""
    monkeypatch.setattr(nodes, "resolved", lambda name: "10.0.0.2" if name == "worker.example" else name)
    present.add("10.0.0.2")
    assert nodes.bring_back(cluster_of("worker.example"), URL) == {}


def test_a_machine_without_a_certificate_is_not_let_in(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On an encrypted cluster it could speak to nobody, so it is left alone, which is said."""
    monkeypatch.setattr(nodes, "has_certificate", lambda name: True)
    monkeypatch.setattr(nodes, "certified", lambda name, address: False)
    assert "makes a new one" in nodes.bring_back(cluster_of("10.0.0.2"), URL)["10.0.0.2"]


def test_a_head_that_takes_no_commands(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the reason why all that are missing still are."""

    def join(cluster: ClusterFile, workers: Sequence[str]) -> dict[str, str]:
        raise ClusterError("ray exec: failed")

    monkeypatch.setattr(nodes, "join", join)
    assert nodes.bring_back(cluster_of("10.0.0.2"), URL) == {"10.0.0.2": "ray exec: failed"}


def test_nodes_are_waited_for(present: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all are there, or time is up; a head that cannot say yet is asked again."""
    answers: Iterator[set[str] | Exception] = iter(
        [UnreachableError("not yet"), {"10.0.0.1"}, {"10.0.0.1", "10.0.0.2"}]
    )

    def alive(url: str) -> set[str]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert nodes.await_nodes(cluster_of("10.0.0.2"), 10.0) == 1
    monkeypatch.setattr(nodes, "alive", alive)
    assert nodes.await_nodes(cluster_of("10.0.0.2"), 1000.0) == 2


@pytest.mark.parametrize(
    ("kind", "head", "happens"),
    [
        ("local", "takes no jobs", "started"),
        ("local", "takes jobs", "it is up, but the way there is not"),
        ("local", "off", "ray exec: failed"),
        ("aws", "off", "started"),
        ("aws", "rented and off", "ray exec: failed"),
        ("aws", "takes jobs", "it is up, but the way there is not"),
    ],
)
def test_only_what_is_lost_is_started_again(
    present: set[str], monkeypatch: pytest.MonkeyPatch, kind: str, head: str, happens: str
) -> None:
    """A cluster that is up loses nothing because somebody cannot reach it; a rented head may have to be rented anew."""
    started: list[ClusterFile] = []

    def takes_jobs(cluster: ClusterFile) -> bool:
        if head.endswith("off"):
            raise ClusterError("ray exec: failed")
        return head == "takes jobs"

    monkeypatch.setattr(nodes, "takes_jobs", takes_jobs)
    monkeypatch.setattr(nodes, "up", started.append)
    monkeypatch.setattr(nodes, "has_head", lambda cluster: head == "rented and off")
    cluster = ClusterFile(Path("/nowhere/mine.yaml"), {"provider": {"type": kind, "head_ip": "10.0.0.1"}})
    if happens == "started":
        nodes.restart(cluster, 10.0)
        assert started == [cluster]
        return
    with pytest.raises(ClusterError, match=happens):
        nodes.restart(cluster, 10.0)
    assert started == []


def test_a_cluster_that_does_not_list_its_nodes() -> None:
    """It may answer later, and is told in one line."""
    with pytest.raises(UnreachableError, match="does not list its nodes") as caught:
        nodes.list_nodes(f"http://127.0.0.1:{free_ports(1)[0]}")
    assert "\n" not in str(caught.value)
