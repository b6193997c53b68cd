"""What the tests of clusters share: a cluster's file, and stand-ins for `ray` and `ssh`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import head, programs
from cluster.description import ROOT, ClusterFile

FAKE = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
folder = pathlib.Path(__file__).parent
call = {"program": pathlib.Path(__file__).name, "arguments": sys.argv[1:], "folder": os.getcwd()}
call["environment"] = dict(os.environ)
call["files"] = {each: pathlib.Path(each).read_text() for each in sys.argv if each.endswith(".yaml")}
sources = [pathlib.Path(line.split()[-1]) for text in call["files"].values() for line in text.splitlines()]
call["sent"] = [sorted(each.name for each in path.iterdir()) for path in sources if path.name == "repository"]
with (folder / "calls.jsonl").open("a") as stream:
    stream.write(json.dumps(call) + "\\n")
print("warming up\\nthe last words", flush=True)
if "dashboard" in sys.argv or "-N" in sys.argv:
    time.sleep(600)
sys.exit(int((folder / "exit_code").read_text()))
"""


@dataclass(frozen=True)
class Programs:
    """The stand-ins.

    Attributes:
        folder: Where they lie.
    """

    folder: Path

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What they were asked, in turn."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def fail(self) -> None:
        """Has them fail from now on."""
        (self.folder / "exit_code").write_text("1")


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """`ray` and `ssh` in their place, in a home of their own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ray", "ssh"):
        (folder / name).write_text(FAKE)
        (folder / name).chmod(0o755)
    (folder / "exit_code").write_text("0")
    for module in (head, programs):
        monkeypatch.setattr(module, "ray_program", lambda: str(folder / "ray"))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another cluster's")
    monkeypatch.setenv("RAY_ADDRESS", "another:6379")
    return Programs(folder)


@pytest.fixture
def cluster_file(tmp_path: Path) -> Callable[..., ClusterFile]:
    """Makes the file of a cluster of two machines; more of its `provider` and `auth` may be said."""

    def make(provider: dict[str, Any] | None = None, auth: dict[str, Any] | None = None) -> ClusterFile:
        content = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
        content["provider"].update({"head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"], **(provider or {})})
        content["auth"].update({"ssh_user": "ray", "ssh_private_key": "~/.ssh/entrepot", **(auth or {})})
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content))
        return ClusterFile.read(path)

    return make


@pytest.fixture
def rented(tmp_path: Path) -> ClusterFile:
    """A cluster in a cloud."""
    path = tmp_path / "rented.yaml"
    path.write_text(yaml.safe_dump({"cluster_name": "rented", "provider": {"type": "aws"}}))
    return ClusterFile.read(path)
