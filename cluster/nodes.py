"""The nodes of a cluster that is up."""

from __future__ import annotations

import time
from typing import Any

from cluster.connection import headers
from cluster.description import ClusterError, ClusterFile
from cluster.launcher import join

PATIENCE = 60.0
"""How long a machine that was set up may take to appear in the cluster [s]."""


def list_nodes(url: str) -> list[dict[str, Any]]:
    """The nodes that a cluster knows, as Ray's state API lists them; those that died among them.

    Args:
        url: Its dashboard's.
    """
    from ray.util.state.api import StateApiClient
    from ray.util.state.common import ListApiOptions, StateResource

    client = StateApiClient(address=url, headers={**headers(), "Content-Type": "application/json"})
    found = client.list(StateResource.NODES, options=ListApiOptions(detail=True), raise_on_missing_output=False)
    return [node if isinstance(node, dict) else dict(vars(node)) for node in found]


def alive(url: str) -> set[str]:
    """Addresses of the nodes that are up."""
    return {str(node["node_ip"]) for node in list_nodes(url) if node["state"] == "ALIVE"}


def bring_back(cluster: ClusterFile, url: str) -> list[str]:
    """Has the workers join that are in the file and not in the cluster, as far as they can be reached.

    Args:
        cluster: Its description, on premises.
        url: Its dashboard's.

    Returns:
        Addresses of those that did.
    """
    joined: list[str] = []
    present = alive(url)
    for worker in cluster.workers:
        if worker in present:
            continue
        try:
            join(cluster, [worker])
        except ClusterError:  # it is off, or not what it should be; it may be tried again
            continue
        joined.append(worker)
    deadline = time.monotonic() + PATIENCE
    while joined and not set(joined) <= alive(url) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [worker for worker in joined if worker in alive(url)]
