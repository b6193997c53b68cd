"""How the head is logged in to."""

from __future__ import annotations

from collections.abc import Callable

from cluster.description import ClusterFile
from cluster.ssh import from_head, to_head


def test_what_the_file_says_of_logging_in_counts(cluster_file: Callable[..., ClusterFile]) -> None:
    """The address from outside, the key, and the proxy, if there are such."""
    plain = to_head(cluster_file())
    assert plain[-1] == "ray@10.0.0.1"
    assert plain[plain.index("-i") + 1].endswith("/.ssh/entrepot")
    assert "~" not in plain[plain.index("-i") + 1]
    proxied = to_head(
        cluster_file({"external_head_ip": "203.0.113.9"}, {"ssh_proxy_command": "nc -X connect %h %p"}), "-N"
    )
    assert proxied[-1] == "ray@203.0.113.9"
    assert proxied[1] == "-N"
    assert "ProxyCommand=nc -X connect %h %p" in proxied


def test_nobody_is_waited_for_without_end() -> None:
    """Who is gone, and who would be asked for a password, is given up."""
    for command in (from_head("ray user"),):
        assert "ServerAliveInterval=5" in command
        assert "BatchMode=yes" in command
        assert command.endswith("-l 'ray user'")
