"""Has machines join a cluster that is up: what the launcher would do, had it not given them up."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence

from cluster.description import ClusterFile
from cluster.head import execute
from cluster.launcher import TLS_ON_NODES
from cluster.ssh import from_head, in_login_shell

SETTING_UP = 1800.0
"""How long a machine may take to be set up; the first time it installs torch [s]."""


def join(cluster: ClusterFile, workers: Sequence[str]) -> dict[str, str]:
    """Sets machines up as workers of a cluster that is up, all at once, without touching what runs there.

    For machines that were off, have been replaced by empty ones, or are new in the cluster's file.

    Args:
        cluster: Its description, on premises.
        workers: Addresses of the machines.

    Returns:
        For each machine, why it could not be reached from the head or set up; empty if it was.

    Raises:
        ClusterError: If the head cannot be reached.
    """
    printed = execute(cluster, _join_command(cluster, workers), timeout=SETTING_UP)
    said = re.findall(r"^joining (\S+): (.*?)\s*$", printed, re.MULTILINE)
    outcomes = {worker: "" if outcome == "done" else outcome for worker, outcome in said}
    return {worker: outcomes.get(worker, "the head did not say") for worker in workers}


def _join_command(cluster: ClusterFile, workers: Sequence[str]) -> str:
    """A command for the head that does on each worker what the launcher would, and says how that ended, a line each."""
    content = cluster.content
    mounts = [*(content.get("file_mounts") or ()), TLS_ON_NODES]
    left_out = " ".join(f"--exclude {shlex.quote(each)}" for each in content.get("rsync_exclude") or ())
    commands = [
        *(content.get(name) or () for name in ("initialization_commands", "setup_commands", "worker_setup_commands")),
        content.get("worker_start_ray_commands") or (),
    ]
    ssh = from_head(cluster.user)
    # A machine on which Ray runs is another's, or is this cluster's under another address: it is left alone.
    steps = [f'{{ ! {ssh} $worker "pgrep -u \\$(id -u) -x raylet" || {{ echo Ray runs there already; false; }}; }}']
    for mount in mounts:
        folder = mount.rpartition("/")[0]
        send = f'rsync -a {left_out} -e "{ssh}" {mount} $worker:{folder}/'
        steps.append(f"{{ test ! -e {mount} || {{ {ssh} $worker mkdir -p {folder} && {send}; }}; }}")
    for command in itertools.chain.from_iterable(commands):
        script = f"export RAY_HEAD_IP={shlex.quote(cluster.addresses[0])}; {command}"
        steps.append(f"{ssh} $worker {shlex.quote(in_login_shell(script))}")
    each = (
        f'(said=$({{ {" && ".join(steps)}; }} </dev/null 2>&1) && echo "joining $worker: done" '
        f'|| echo "joining $worker: failed, $(echo "$said" | tail -n 1)") &'
    )
    return f"for worker in {' '.join(map(shlex.quote, workers))}; do {each} done; wait"
