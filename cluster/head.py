"""The head of a cluster, as it is reached from outside: commands on it, and a way to its dashboard."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from cluster.description import ROOT, ClusterError, ClusterFile
from cluster.programs import end, last_line, ray, ray_environment, ray_program, run
from cluster.ssh import in_login_shell, to_head

DASHBOARD = 8265
"""The dashboard's port, on the head's loopback."""


def execute(cluster: ClusterFile, command: str, *, timeout: float | None = None) -> str:
    """Runs a shell command on the head, in a login shell.

    Args:
        cluster: Where.
        command: What.
        timeout: How long it may take [s]; None: as long as it likes.

    Returns:
        What it printed, and where machines are rented what the launcher printed around it.

    Raises:
        ClusterError: If the head cannot be reached, or the command fails.
    """
    if cluster.on_premises:
        return run([*to_head(cluster), in_login_shell(command)], f"{cluster.name}: its head", timeout=timeout)
    return ray(cluster, "exec", "--no-config-cache", str(cluster.path), command, capture=True, timeout=timeout)


def takes_jobs(cluster: ClusterFile) -> bool:
    """Whether Ray is up on the head, asked there: a tunnel that does not stand may be our own fault.

    Where nobody listens, Ray's command, which takes seconds to start, is spared.

    Raises:
        ClusterError: If the head cannot be reached.
    """
    listens = f"bash -c ': </dev/tcp/127.0.0.1/{DASHBOARD}' 2>/dev/null"
    ask = f"timeout 60 ray job list --address=http://127.0.0.1:{DASHBOARD} >/dev/null 2>&1"
    said = execute(cluster, f"if {listens} && {ask}; then echo jobs: taken; else echo jobs: not taken; fi", timeout=120)
    return "jobs: taken" in said


def has_head(cluster: ClusterFile) -> bool:
    """Whether there is a rented machine that is the head, be it up or not."""
    try:
        ray(cluster, "get-head-ip", str(cluster.path), capture=True)
    except ClusterError:
        return False
    return True


@dataclass(frozen=True)
class Tunnel:
    """A way to the head that a process holds open.

    Attributes:
        process: The process.
        said: What it has printed.
    """

    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def gone(self) -> bool:
        """Whether it has given up."""
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The last line of what it has printed."""
        self.said.seek(0)
        return last_line(self.said.read().decode(errors="replace"))


@contextmanager
def forwarding(cluster: ClusterFile, port: int) -> Iterator[Tunnel]:
    """Has a port of this machine's loopback lead to the dashboard, which listens on the head's loopback alone."""
    if cluster.on_premises:
        forward = f"127.0.0.1:{port}:127.0.0.1:{DASHBOARD}"
        command = to_head(cluster, "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward)
    else:
        command = [ray_program(), "dashboard", "--no-config-cache", "--port", str(port), str(cluster.path)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=ray_environment(cluster),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            yield Tunnel(process, said)
        finally:
            end(process)
