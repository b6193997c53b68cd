"""What `entrepot cluster status` shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from cluster.jobs import Job


def nodes_table(nodes: Sequence[Mapping[str, Any]]) -> Table:
    """The nodes, those that are up first.

    Args:
        nodes: As Ray's state API lists them.
    """
    table = Table(title="Nodes", title_justify="left")
    for heading in ("address", "role", "state", "CPUs", "GPUs", "memory [GiB]"):
        table.add_column(heading, justify="right" if heading[0].isupper() or heading.startswith("mem") else "left")
    for node in sorted(nodes, key=lambda each: (each["state"] != "ALIVE", not each.get("is_head_node"))):
        resources = node.get("resources_total") or {}
        memory = resources.get("memory", 0) / 2**30
        table.add_row(
            str(node.get("node_ip", "")),
            "head" if node.get("is_head_node") else "worker",
            str(node["state"]).lower(),
            f"{resources.get('CPU', 0):g}",
            f"{resources.get('GPU', 0):g}",
            f"{memory:.1f}",
        )
    return table


def jobs_table(jobs: Sequence[Job]) -> Table:
    """The jobs, the newest first."""
    table = Table(title="Jobs", title_justify="left")
    for heading in ("id", "state", "started", "command"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        started = "" if job.started is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started / 1000))
        table.add_row(job.id, job.status.lower(), started, job.command)
    return table
