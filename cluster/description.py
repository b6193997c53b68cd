"""The file that describes a cluster, in the launcher's own format."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
"""The repository, which relative paths in such a file refer to."""


class ClusterError(ValueError):
    """A cluster cannot be used as it is described or as it stands; the message is one line."""


@dataclass(frozen=True)
class ClusterFile:
    """A launcher's YAML.

    Attributes:
        path: Where it lies.
        content: What is in it.
    """

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> ClusterFile:
        """Reads one, as far as we look into it; Ray's launcher checks the rest.

        Raises:
            ClusterError: If there is none, or it is not filled in.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ClusterError(f"cluster file: cannot read {path} ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise ClusterError(f"cluster file: {path} is not YAML ({' '.join(str(error).split())})") from error
        if not isinstance(content, dict) or not isinstance(content.get("provider"), dict):
            raise ClusterError(f"cluster file: got {path}, allowed is one for Ray's launcher, such as {examples()}")
        cluster = cls(path.absolute(), content)
        if cluster.on_premises:
            cluster._check_addresses()
        return cluster

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.content.get("cluster_name", "default"))

    @property
    def on_premises(self) -> bool:
        """Whether these are machines that nobody has to rent first."""
        return self.content["provider"].get("type") == "local"

    @property
    def user(self) -> str:
        """Who logs in to the machines."""
        return str((self.content.get("auth") or {}).get("ssh_user", "root"))

    @property
    def workers(self) -> list[str]:
        """Addresses of the workers, on premises."""
        return [str(address) for address in self.content["provider"].get("worker_ips") or ()]

    @property
    def addresses(self) -> list[str]:
        """Addresses of all nodes, the head's first, on premises."""
        provider = self.content["provider"]
        outside = [str(provider["external_head_ip"])] if provider.get("external_head_ip") else []
        return [str(provider["head_ip"]), *outside, *self.workers]

    @property
    def least_nodes(self) -> int:
        """Nodes, the head among them, that come up without being asked for."""
        if self.on_premises:
            return 1 + len(self.workers)
        types: Mapping[str, Any] = self.content.get("available_node_types") or {}
        return 1 + sum(int(each.get("min_workers", 0)) for each in types.values())

    def _check_addresses(self) -> None:
        provider = self.content["provider"]
        if not provider.get("head_ip"):
            raise ClusterError(f"provider.head_ip: got none in {self.path}, required is the head's address")
        if provider["head_ip"] in ("127.0.0.1", "localhost", "::1"):
            raise ClusterError(f"provider.head_ip: got {provider['head_ip']}, allowed is what the workers reach it by")
        user = (self.content.get("auth") or {}).get("ssh_user")
        for key, value in (("head_ip", provider["head_ip"]), *(("worker_ips", each) for each in self.workers)):
            if value in ("HEAD", "WORKER"):
                raise ClusterError(f"provider.{key}: got {value!r} in {self.path}, allowed is a machine's address")
        if user == "USER":
            raise ClusterError(f"auth.ssh_user: got 'USER' in {self.path}, allowed is who logs in to the machines")


def examples() -> str:
    """The cluster files there are, in words."""
    return ", ".join(str(path.relative_to(ROOT)) for path in sorted((ROOT / "cluster").glob("*.yaml")))


def resolved(address: str) -> str:
    """The IP address of a machine, which is how Ray calls it; what was given, if it cannot be found out."""
    try:
        return socket.gethostbyname(address)
    except OSError:
        return address


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
