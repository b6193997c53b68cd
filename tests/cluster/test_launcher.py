"""Ray's launcher, with its traps handled."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import launcher
from cluster.description import ROOT, ClusterError, ClusterFile


def test_up(stand_ins: Any, cluster_file: Callable[..., ClusterFile], tmp_path: Path) -> None:
    """The launcher gets a token, whole paths, the autoscaler that starts workers, and nothing of others'."""
    launcher.up(cluster_file())
    (call,) = stand_ins.calls
    assert call["arguments"][:3] == ["up", "--yes", "--no-config-cache"]
    assert call["folder"] == str(ROOT)
    environment = call["environment"]
    assert environment["RAY_UP_enable_autoscaler_v2"] == "0"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert not {"RAY_AUTH_TOKEN", "RAY_ADDRESS"} & set(environment)
    (text,) = call["files"].values()
    mounts = yaml.safe_load(text)["file_mounts"]
    assert mounts["~/.ray/auth_token"] == str(tmp_path / ".ray" / "auth_token")
    (sent,) = call["sent"]
    assert {"entrepot.py", "Makefile", "requirements.txt", "cluster"} <= set(sent)
    assert not {".venv", ".git", "results"} & set(sent), "what nodes do not need would be read through and sent"
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert not Path(call["arguments"][-1]).exists(), "the launcher's copy stays behind"
    assert not Path(mounts["~/entrepot"]).exists(), "the repository's copy stays behind"


def test_tls_is_a_switch(stand_ins: Any, cluster_file: Callable[..., ClusterFile], rented: ClusterFile) -> None:
    """With it the nodes get a certificate, and from then on; where addresses are not known, it is refused."""
    for tls in (False, True, False):
        launcher.up(cluster_file(), tls=tls)
    mounts = [yaml.safe_load(text)["file_mounts"] for call in stand_ins.calls for text in call["files"].values()]
    assert ["~/.ray/tls" in each for each in mounts] == [False, True, True]
    folder = Path(mounts[1]["~/.ray/tls"])
    assert {path.name for path in folder.iterdir()} == {"ca.crt", "server.crt", "server.key"}
    with pytest.raises(ClusterError, match="--tls: got it for rented"):
        launcher.up(rented, tls=True)


def test_down_stops_every_node(stand_ins: Any, cluster_file: Callable[..., ClusterFile]) -> None:
    """Ray ends on the head first, then on the workers; only then does the launcher forget them."""
    launcher.down(cluster_file())
    stop, down = stand_ins.calls
    assert stop["program"] == "ssh"
    command = stop["arguments"][-1]
    assert command.index("ray stop") < command.index("10.0.0.2") < command.index("cluster-entrepot.state")
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    assert down["program"] == "ray"
    assert down["arguments"][:2] == ["down", "--yes"]


def test_down_says_that_it_ended_nothing(stand_ins: Any, cluster_file: Callable[..., ClusterFile]) -> None:
    """Whoever cannot reach the head must not take the cluster for ended."""
    stand_ins.fail()
    with pytest.raises(ClusterError, match=r"^down: nothing was ended \(.*the last words.*workers end by themselves"):
        launcher.down(cluster_file())
