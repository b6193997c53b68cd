"""Clusters as YAML files: those that come with Entrepot, by name, and anybody's own, by path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from envs.resource_allocation.cluster import Cluster, ClusterError
from envs.yaml_files import FileError, fault_line, read_yaml

FOLDER = Path(__file__).parent / "clusters"


def cluster_names() -> list[str]:
    """Names of the clusters that come with Entrepot."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_cluster(given: str | Path | Cluster | Mapping[str, Any]) -> Cluster:
    """A cluster by its name, from a file, or from plain values.

    Raises:
        ClusterError: If there is none, it cannot be read, or it does not hang together; a line for each fault, with
            file, key and what is allowed.
    """
    if isinstance(given, Cluster):
        return given
    if isinstance(given, Mapping):
        return _parsed(given, "cluster")
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{given}.yaml"
        if not path.is_file():
            allowed = ", ".join(cluster_names())
            raise ClusterError(f"cluster: got {str(given)!r}, allowed are {allowed}, or the path of a YAML file")
    try:
        data = read_yaml(path)
    except FileError as error:
        raise ClusterError(str(error)) from error
    if not isinstance(data, Mapping):
        keys = ", ".join(Cluster.model_fields)
        raise ClusterError(f"{path}: got {type(data).__name__}, allowed is a mapping with {keys}")
    return _parsed(data, str(path))


def _parsed(data: Mapping[str, Any], where: str) -> Cluster:
    try:
        return Cluster.model_validate(dict(data))
    except ValidationError as error:
        raise ClusterError(
            "\n".join(f"{where}: {fault_line({**each})}" for each in error.errors(include_url=False))
        ) from None
