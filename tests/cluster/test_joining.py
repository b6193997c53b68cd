"""Machines join a cluster that is up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import joining
from cluster.description import ClusterFile

SSH = """#!/bin/bash
case "$*" in
    *10.0.0.9*) echo first; echo unplugged >&2; exit 255 ;;
    *10.0.0.7*pgrep*) exit 0 ;;
    *pgrep*) exit 1 ;;
esac
"""


def test_join_does_what_the_launcher_would(stand_ins: Any, cluster_file: Callable[..., ClusterFile]) -> None:
    """A machine gets what is mounted, each command in a login shell of its own, and the head's address."""
    joining.join(cluster_file(), ["10.0.0.2", "10.0.0.9"])
    command = stand_ins.calls[0]["arguments"][-1]
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    parts = ["10.0.0.9", "pgrep", "~/.ray/auth_token", "make --directory", "node.sh", "ray start"]
    places = [command.index(part) for part in parts]
    assert places == sorted(places)
    assert "RAY_HEAD_IP=10.0.0.1" in command


def test_join_says_of_each_machine_how_it_went(
    tmp_path: Path, cluster_file: Callable[..., ClusterFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot be reached does not keep another out, and one on which Ray runs is left alone."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    (programs / "ssh").chmod(0o755)

    def on_the_head(cluster: ClusterFile, command: str, *, timeout: float) -> str:
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
        return "warming up\r\n" + done.stdout.replace("\n", "\r\n")  # as through a terminal

    monkeypatch.setattr(joining, "execute", on_the_head)
    outcomes = joining.join(cluster_file(), ["10.0.0.2", "10.0.0.9", "10.0.0.7"])
    assert outcomes == {"10.0.0.2": "", "10.0.0.9": "failed, unplugged", "10.0.0.7": "failed, Ray runs there already"}
    monkeypatch.setattr(joining, "execute", lambda cluster, command, timeout: "")
    assert joining.join(cluster_file(), ["10.0.0.2"]) == {"10.0.0.2": "the head did not say"}
