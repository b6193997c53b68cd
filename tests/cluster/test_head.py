"""The head, as it is reached from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import head
from cluster.description import ClusterError, ClusterFile


def test_commands_go_by_ssh_or_through_the_launcher(
    stand_ins: Any, cluster_file: Callable[..., ClusterFile], rented: ClusterFile
) -> None:
    """On premises the head is where its file says, from whichever machine; a rented one only the launcher finds."""
    assert head.execute(cluster_file(), "echo 'a b'") == "warming up\nthe last words\n"
    head.execute(rented, "echo 'a b'")
    ssh, ray = stand_ins.calls
    assert (ssh["program"], ray["program"]) == ("ssh", "ray")
    assert ssh["arguments"][-2] == "ray@10.0.0.1"
    assert subprocess.run(["bash", "-c", ssh["arguments"][-1]], capture_output=True, text=True).stdout == "a b\n"
    assert ray["arguments"][:1] == ["exec"]
    assert ray["arguments"][-1] == "echo 'a b'"


def test_a_failure_is_one_line(stand_ins: Any, cluster_file: Callable[..., ClusterFile], rented: ClusterFile) -> None:
    """What fails names the cluster and the last thing that was printed."""
    stand_ins.fail()
    with pytest.raises(ClusterError, match=r"^entrepot: its head: failed with exit code 1: the last words$"):
        head.execute(cluster_file(), "true")
    with pytest.raises(ClusterError, match=r"^ray exec for rented: failed with exit code 1: the last words$"):
        head.execute(rented, "true")


def test_whether_the_head_takes_jobs_is_asked_there(
    tmp_path: Path, cluster_file: Callable[..., ClusterFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ray's own command, where somebody listens; what else is printed on the way does not matter."""

    def on_the_head(cluster: ClusterFile, command: str, *, timeout: float) -> str:
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True).stdout

    with socket.create_server(("127.0.0.1", 0)) as dashboard:
        monkeypatch.setattr(head, "DASHBOARD", dashboard.getsockname()[1])
        for code, expected in ((0, True), (1, False)):
            (tmp_path / "ray").write_text(f"#!/bin/bash\ntouch {tmp_path}/asked; echo jobs: many; exit {code}\n")
            (tmp_path / "ray").chmod(0o755)

            monkeypatch.setattr(head, "execute", on_the_head)
            assert head.takes_jobs(cluster_file()) is expected
    (tmp_path / "asked").unlink()
    assert not head.takes_jobs(cluster_file())
    assert not (tmp_path / "asked").exists(), "nobody listens any more, so nobody need be asked"


def test_whether_there_is_a_head(stand_ins: Any, rented: ClusterFile) -> None:
    """The launcher knows its address, or does not."""
    assert head.has_head(rented)
    stand_ins.fail()
    assert not head.has_head(rented)
    assert [call["arguments"][0] for call in stand_ins.calls] == ["get-head-ip"] * 2


@pytest.mark.parametrize("on_premises", [True, False])
def test_a_tunnel_ends_with_its_use(
    stand_ins: Any, cluster_file: Callable[..., ClusterFile], rented: ClusterFile, on_premises: bool
) -> None:
    """The process that holds the tunnel open is gone afterwards; what it said is known meanwhile."""
    with head.forwarding(cluster_file() if on_premises else rented, 4321) as tunnel:
        deadline = time.monotonic() + 20
        while tunnel.last_words() != "the last words" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tunnel.last_words() == "the last words"
        assert not tunnel.gone
    with pytest.raises(ProcessLookupError):
        os.killpg(tunnel.process.pid, 0)
    assert any("4321" in argument for argument in stand_ins.calls[0]["arguments"])
