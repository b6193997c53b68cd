"""Ray's launcher, with its traps handled; `ray` itself is replaced by a program that writes down what it is asked."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import launcher
from cluster.description import ROOT, ClusterError, ClusterFile

FAKE = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
folder = pathlib.Path(__file__).parent
call = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
call["files"] = {each: pathlib.Path(each).read_text() for each in sys.argv if each.endswith(".yaml")}
call["beside"] = sorted(str(each) for path in call["files"] for each in pathlib.Path(path).parent.glob("*/*"))
with (folder / "calls.jsonl").open("a") as stream:
    stream.write(json.dumps(call) + "\\n")
print("warming up\\nthe last words")
if sys.argv[1] == "dashboard":
    time.sleep(600)
sys.exit(int((folder / "exit_code").read_text()))
"""


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's folder, which holds `exit_code` and collects `calls.jsonl`; with a home of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ray").write_text(FAKE)
    (folder / "ray").chmod(0o755)
    (folder / "exit_code").write_text("0")
    monkeypatch.setattr(launcher, "_program", lambda: str(folder / "ray"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another cluster's")
    monkeypatch.setenv("RAY_ADDRESS", "another:6379")
    return folder


def calls(folder: Path) -> list[dict[str, Any]]:
    """What the program was asked."""
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


def cluster_file(folder: Path) -> ClusterFile:
    """A cluster of two machines."""
    content = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    content["provider"].update(head_ip="10.0.0.1", worker_ips=["10.0.0.2"])
    content["auth"].update(ssh_user="ray", ssh_private_key="~/.ssh/entrepot")
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return ClusterFile.read(path)


def test_up(ray: Path, tmp_path: Path) -> None:
    """The launcher gets a token, whole paths, the autoscaler that starts workers, and nothing of others'."""
    launcher.up(cluster_file(tmp_path))
    (call,) = calls(ray)
    assert call["arguments"][:3] == ["up", "--yes", "--no-config-cache"]
    assert call["folder"] == str(ROOT)
    environment = call["environment"]
    assert environment["RAY_UP_enable_autoscaler_v2"] == "0"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert not {"RAY_AUTH_TOKEN", "RAY_ADDRESS"} & set(environment)
    (text,) = call["files"].values()
    mounts = yaml.safe_load(text)["file_mounts"]
    assert mounts["~/.ray/auth_token"] == str(tmp_path / ".ray" / "auth_token")
    sent = {Path(path).name for path in call["beside"] if path.startswith(mounts["~/entrepot"])}
    assert {"entrepot.py", "Makefile", "requirements.txt", "cluster"} <= sent
    assert not {".venv", ".git", "results"} & sent, "what nodes do not need would be read through and sent"
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert not Path(call["arguments"][-1]).exists(), "the launcher's copy stays behind"


def test_tls_is_a_switch(ray: Path, tmp_path: Path) -> None:
    """With it the nodes get a certificate for their addresses; where addresses are not known, it is refused."""
    launcher.up(cluster_file(tmp_path), tls=True)
    (text,) = calls(ray)[0]["files"].values()
    folder = Path(yaml.safe_load(text)["file_mounts"]["~/.ray/tls"])
    assert {path.name for path in folder.iterdir()} == {"ca.crt", "server.crt", "server.key"}
    rented = tmp_path / "rented.yaml"
    rented.write_text(yaml.safe_dump({"provider": {"type": "aws"}}))
    with pytest.raises(ClusterError, match="--tls: got it for rented"):
        launcher.up(ClusterFile.read(rented), tls=True)


def test_down_stops_every_node(ray: Path, tmp_path: Path) -> None:
    """Ray ends on the head first, then on the workers; only then does the launcher forget them."""
    launcher.down(cluster_file(tmp_path))
    stop, down = calls(ray)
    assert stop["arguments"][0] == "exec"
    command = stop["arguments"][-1]
    assert command.index("ray stop") < command.index("10.0.0.2") < command.index("cluster-entrepot.state")
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    assert down["arguments"][:2] == ["down", "--yes"]


def test_join_does_what_the_launcher_would(ray: Path, tmp_path: Path) -> None:
    """A machine gets what is mounted, each command in a login shell of its own, and the head's address."""
    launcher.join(cluster_file(tmp_path), ["10.0.0.2", "10.0.0.9"])
    command = calls(ray)[0]["arguments"][-1]
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    parts = ["10.0.0.9", "~/.ray/auth_token", "make --directory", "node.sh", "RAY_HEAD_IP=10.0.0.1", "ray start"]
    places = [command.index(part) for part in (*parts[:4], parts[5])]
    assert places == sorted(places)
    assert parts[4] in command


def test_a_failure_is_one_line(ray: Path, tmp_path: Path) -> None:
    """What fails names the command, the cluster and the last thing it printed."""
    (ray / "exit_code").write_text("1")
    with pytest.raises(ClusterError, match=r"ray exec: failed for entrepot \(exit code 1\): the last words"):
        launcher.execute(cluster_file(tmp_path), "true")


def test_a_tunnel_ends_with_its_use(ray: Path, tmp_path: Path) -> None:
    """The process that holds the tunnel open is gone afterwards."""
    with launcher.forwarding(cluster_file(tmp_path), 4321) as tunnel:
        deadline = time.monotonic() + 20
        while not (ray / "calls.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tunnel.poll() is None
    assert tunnel.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(tunnel.pid, 0)
    assert "4321" in calls(ray)[0]["arguments"]
