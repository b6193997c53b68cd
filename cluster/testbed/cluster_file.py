"""The description of a cluster of the laboratory's machines: `cluster/onprem.yaml`, filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from cluster.description import ROOT
from cluster.testbed.lab import KEY, Node

NOTICES_SOON = {
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 2000,
    "RAY_health_check_failure_threshold": 4,
}
"""Settings of Ray's with which a head misses a machine that is gone after some ten seconds, not after a minute."""


def write_cluster_file(
    path: Path, nodes: Sequence[Node], *, cpus: int = 2, name: str = "lab", settings: Mapping[str, object] | None = None
) -> Path:
    """Writes one.

    Args:
        path: Where to.
        nodes: The machines; the first is the head.
        cpus: CPUs that each worker says it has; the head says 1. In truth all share those of one machine.
        name: The cluster's name.
        settings: Environment variables that Ray is started with on the head.

    Returns:
        The path.
    """
    content = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text(encoding="utf-8"))
    head, *workers = (node.address for node in nodes)
    content["cluster_name"] = name
    content["provider"].update(head_ip=head, worker_ips=workers)
    content["auth"].update(ssh_user="root", ssh_private_key=str(KEY))
    on_head = "".join(f"{variable}={value} " for variable, value in (settings or {}).items())
    for commands, set_to, count in (("head_start_ray_commands", on_head, 1), ("worker_start_ray_commands", "", cpus)):
        start = f"{set_to}ray start --num-cpus={count} --object-store-memory=200000000"
        content[commands] = [command.replace("ray start", start) for command in content[commands]]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
