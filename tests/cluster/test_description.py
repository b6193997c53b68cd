"""The file that describes a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.description import ROOT, ClusterError, ClusterFile


def written(folder: Path, **changes: object) -> Path:
    """`cluster/onprem.yaml`, filled in, with changes to its provider or, where they are not its, at the top."""
    content = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    content["provider"].update(head_ip="10.0.0.1", worker_ips=["10.0.0.2", "10.0.0.3"])
    content["auth"]["ssh_user"] = "ray"
    for key, value in changes.items():
        (content["provider"] if key in ("head_ip", "worker_ips", "external_head_ip") else content)[key] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_what_it_says(tmp_path: Path) -> None:
    """Name, addresses and the nodes to wait for are read from it."""
    cluster = ClusterFile.read(written(tmp_path, external_head_ip="192.0.2.7"))
    assert cluster.on_premises
    assert cluster.name == "entrepot"
    assert cluster.workers == ["10.0.0.2", "10.0.0.3"]
    assert cluster.addresses == ["10.0.0.1", "192.0.2.7", "10.0.0.2", "10.0.0.3"]
    assert cluster.least_nodes == 3


def test_rented_nodes(tmp_path: Path) -> None:
    """Of rented machines, those are waited for that come up without being asked for."""
    path = tmp_path / "rented.yaml"
    types = {"head": {"min_workers": 0}, "cpu": {"min_workers": 2}, "gpu": {"max_workers": 4}}
    path.write_text(yaml.safe_dump({"provider": {"type": "aws"}, "available_node_types": types}))
    cluster = ClusterFile.read(path)
    assert not cluster.on_premises
    assert cluster.least_nodes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_ip": "HEAD"}, "provider.head_ip: got 'HEAD'"),
        ({"worker_ips": ["WORKER"]}, "provider.worker_ips: got 'WORKER'"),
        ({"head_ip": "127.0.0.1"}, "allowed is what the workers reach it by"),
        ({"head_ip": ""}, "required is the head's address"),
        ({"auth": {"ssh_user": "USER"}}, "auth.ssh_user: got 'USER'"),
    ],
)
def test_not_filled_in(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    """What was left as it came is named before anything starts."""
    with pytest.raises(ClusterError, match=message):
        ClusterFile.read(written(tmp_path, **changes))


def test_not_a_cluster(tmp_path: Path) -> None:
    """A file that is none, or not there, is refused in one line that says which would do."""
    (tmp_path / "other.yaml").write_text("domain: trading\n")
    (tmp_path / "broken.yaml").write_text("{")
    for name, message in (("other", "cluster/onprem.yaml"), ("broken", "not YAML"), ("none", "cannot read")):
        with pytest.raises(ClusterError, match=message) as caught:
            ClusterFile.read(tmp_path / f"{name}.yaml")
        assert "\n" not in str(caught.value)
