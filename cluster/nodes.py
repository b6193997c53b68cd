"""The nodes of a cluster that is up."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from cluster.connection import UnreachableError, connect, headers
from cluster.credentials import certified, has_certificate
from cluster.description import ClusterError, ClusterFile, first_line, resolved
from cluster.head import has_head, takes_jobs
from cluster.joining import join
from cluster.launcher import up

MOST = 10_000
"""How many nodes are listed, dead ones among them; Ray knows 1000 of those, and would list 100 of all."""
PATIENCE = 60.0
"""How long a machine that was set up may take to appear in the cluster [s]."""


def list_nodes(url: str) -> list[dict[str, Any]]:
    """The nodes that a cluster knows, as Ray's state API lists them; those that died among them.

    Args:
        url: Its dashboard's.

    Raises:
        UnreachableError: If it cannot say now.
    """
    from ray.util.state.api import StateApiClient
    from ray.util.state.common import ListApiOptions, StateResource
    from ray.util.state.exception import RayStateApiException

    client = StateApiClient(address=url, headers={**headers(), "Content-Type": "application/json"})
    try:
        found = client.list(
            StateResource.NODES, options=ListApiOptions(limit=MOST, detail=True), raise_on_missing_output=False
        )
    except (OSError, RayStateApiException) as error:
        raise UnreachableError(f"address: got {url}, which does not list its nodes ({first_line(error)})") from error
    return [node if isinstance(node, dict) else dict(vars(node)) for node in found]


def alive(url: str) -> set[str]:
    """Addresses of the nodes that are up."""
    return {str(node["node_ip"]) for node in list_nodes(url) if node["state"] == "ALIVE"}


def await_nodes(cluster: ClusterFile, wait: float) -> int:
    """Waits until as many nodes are up as come up by themselves, or time is up.

    Args:
        cluster: Its description.
        wait: How long [s].

    Returns:
        How many are up.

    Raises:
        ClusterError: If the head does not answer in that time.
    """
    deadline, here = time.monotonic() + wait, 0
    with connect(str(cluster.path), patience=wait) as url:
        while True:
            with suppress(UnreachableError):  # a head that has just started
                here = len(alive(url))
            if here >= cluster.least_nodes or time.monotonic() > deadline:
                return here
            time.sleep(1.0)


def restart(cluster: ClusterFile, wait: float) -> None:
    """Starts a cluster whose head is lost, and waits for its nodes.

    To start one ends what runs there, so one that is up, and that only we do not reach, is left alone.

    Args:
        cluster: Its description.
        wait: How long to wait for the nodes [s].

    Raises:
        ClusterError: If it cannot be started now, or need not be.
    """
    try:
        there = takes_jobs(cluster)
    except ClusterError:  # the machine is off, or our own line is cut, or what was rented is no more
        if cluster.on_premises or has_head(cluster):
            raise
        there = False
    if there:
        raise ClusterError("it is up, but the way there is not")
    up(cluster)
    await_nodes(cluster, wait)


def bring_back(cluster: ClusterFile, url: str) -> dict[str, str]:
    """Has the workers join that are in the file and not in the cluster, as far as they can be reached.

    Args:
        cluster: Its description, on premises.
        url: Its dashboard's.

    Returns:
        For each worker that was missing, why it still is; empty if it has joined.

    Raises:
        UnreachableError: If the cluster does not answer.
    """
    present = alive(url)
    missing = [worker for worker in cluster.workers if resolved(worker) not in present]
    strangers = [worker for worker in missing if has_certificate(cluster.name) and not certified(cluster.name, worker)]
    outcomes = dict.fromkeys(strangers, "not in the cluster's certificate; `entrepot cluster up` makes a new one")
    missing = [worker for worker in missing if worker not in outcomes]
    if not missing:
        return outcomes
    try:
        outcomes |= join(cluster, missing)
    except ClusterError as error:  # the head cannot be logged in to
        return outcomes | dict.fromkeys(missing, str(error))
    set_up = {worker for worker, reason in outcomes.items() if not reason}
    deadline = time.monotonic() + PATIENCE
    while not {resolved(worker) for worker in set_up} <= (present := alive(url)) and time.monotonic() < deadline:
        time.sleep(0.5)
    late = [worker for worker in set_up if resolved(worker) not in present]
    return outcomes | dict.fromkeys(late, f"set up, but not in the cluster after {PATIENCE:g} s")
