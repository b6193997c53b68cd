"""Ray's cluster launcher, with its traps handled: clusters go up and down.

What it does not do by itself on machines of one's own: with its new autoscaler (the default since Ray 2.50) it starts
no workers; its old one never tries a machine again that it could not set up once, as when it was off; `ray down` leaves
workers running until they miss their head. The first and the last are made good here, the other in `joining`.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from cluster.credentials import certify, ensure_token, has_certificate, tls_folder, token_path
from cluster.description import ROOT, ClusterError, ClusterFile
from cluster.head import execute
from cluster.programs import ray
from cluster.sources import copied
from cluster.ssh import from_head, in_login_shell

TOKEN_ON_NODES = "~/.ray/auth_token"
TLS_ON_NODES = "~/.ray/tls"


def up(cluster: ClusterFile, *, tls: bool = False) -> None:
    """Starts a cluster, or brings one that is up to what its file says; what runs there ends.

    Args:
        cluster: Its description.
        tls: Whether its processes encrypt what they say to each other, and prove who they are; a cluster on premises
            that once did goes on so.

    Raises:
        ClusterError: If the launcher fails; its own words are on the terminal.
    """
    ensure_token()
    tls = tls or (cluster.on_premises and has_certificate(cluster.name))
    with _prepared(cluster, tls) as path:
        ray(cluster, "up", "--yes", "--no-config-cache", str(path))


def down(cluster: ClusterFile) -> None:
    """Ends a cluster: Ray on every node, and the machines where they are rented.

    Raises:
        ClusterError: If the head cannot be reached, or the launcher fails.
    """
    if cluster.on_premises:
        try:
            execute(cluster, _stop_all(cluster))
        except ClusterError as error:
            raise ClusterError(
                f"down: nothing was ended ({error}); if the head is off, its workers end by themselves in two minutes"
            ) from error
    ray(cluster, "down", "--yes", str(cluster.path))


# -- what is handed to Ray ---------------------------------------------------------------------------------------------


@contextmanager
def _prepared(cluster: ClusterFile, tls: bool) -> Iterator[Path]:
    """A cluster's file as the launcher gets it: paths that hold anywhere, the token, and certificates if wanted."""
    content: dict[str, Any] = dict(cluster.content)
    mounts: dict[str, str] = {there: str(_local(here)) for there, here in (content.get("file_mounts") or {}).items()}
    mounts.setdefault(TOKEN_ON_NODES, str(token_path()))
    if tls:
        if not cluster.on_premises:
            raise ClusterError(
                f"--tls: got it for {cluster.path.name}, allowed is a cluster whose addresses are known beforehand, "
                "with provider local"
            )
        certify(tls_folder(cluster.name), cluster.addresses)
        mounts[TLS_ON_NODES] = str(tls_folder(cluster.name))
    content["file_mounts"] = mounts
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="entrepot-cluster-")))
        for there, here in mounts.items():
            if Path(here) == ROOT:
                # The launcher reads all that it brings, even what `rsync_exclude` keeps back: here whole environments.
                mounts[there] = str(stack.enter_context(copied(content.get("rsync_exclude") or ())))
        path = folder / cluster.path.name
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        yield path


def _local(path: str) -> Path:
    expanded = Path(path).expanduser()
    return expanded if expanded.is_absolute() else (ROOT / expanded).resolve()


def _stop_all(cluster: ClusterFile) -> str:
    """A command for the head that ends Ray there, lest it start workers anew, and then on the workers.

    The launcher's notes on nodes go too: a cluster that starts again must not take them for up.
    """
    stop = shlex.quote(in_login_shell("ray stop --grace-period 5"))
    workers = " ".join(map(shlex.quote, cluster.workers))
    notes = shlex.quote(f"/tmp/ray/cluster-{cluster.name}.")
    return (
        f"ray stop --grace-period 5; for worker in {workers}; do "
        f"{from_head(cluster.user)} $worker {stop} >/dev/null 2>&1 & done; wait; rm -f {notes}state {notes}lock"
    )
