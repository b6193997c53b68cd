"""SSH to the head of a cluster on premises, which is where its file says, whoever started it and from wherever.

Ray's launcher remembers such a head in a file of the machine that started it; from any other it finds none.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from cluster.description import ClusterFile

OPTIONS = (
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "LogLevel=ERROR",
    "ConnectTimeout=5",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)
"""As the launcher connects: machines that are replaced have new keys. Who is gone is given up after 15 s."""


def to_head(cluster: ClusterFile, *options: str) -> list[str]:
    """The command that logs in to the head, to which what is to be done there is appended.

    Args:
        cluster: Its description, on premises.
        *options: More of ssh's.
    """
    auth: dict[str, Any] = cluster.content.get("auth") or {}
    words = ["ssh", *options, *(word for option in OPTIONS for word in ("-o", option)), "-o", "BatchMode=yes"]
    if key := auth.get("ssh_private_key"):
        words += ["-i", str(Path(str(key)).expanduser())]
    if proxy := auth.get("ssh_proxy_command"):
        words += ["-o", f"ProxyCommand={proxy}"]
    address = str(cluster.content["provider"].get("external_head_ip") or cluster.content["provider"]["head_ip"])
    return [*words, f"{cluster.user}@{address}"]


def in_login_shell(command: str) -> str:
    """A command as one word for a remote shell, which runs it in a login shell: its environment is set there."""
    return f"bash --login -c {shlex.quote(command)}"


def from_head(user: str) -> str:
    """How the head logs in to its workers, as a shell command to which the host and what is to be done are appended.

    Args:
        user: Who.
    """
    options = " ".join(f"-o {option}" for option in OPTIONS)
    return f"ssh {options} -o BatchMode=yes -i ~/ray_bootstrap_key.pem -l {shlex.quote(user)}"
