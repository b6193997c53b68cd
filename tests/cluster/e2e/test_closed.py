"""Strangers stay out: from another machine, and on the machines themselves, nothing works without the token."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cluster.testbed.lab import Node

CONNECT = (
    "import ray; ray.init(address='{address}:6379', logging_level='ERROR'); print('CPUS', ray.cluster_resources())"
)
ANONYMOUS = "env -u RAY_AUTH_TOKEN -u RAY_AUTH_TOKEN_PATH -u RAY_AUTH_MODE HOME=/tmp/nobody"
"""Somebody who has our programs, but neither our token nor our settings."""


@pytest.fixture
def head(cluster: Path, nodes: list[Node]) -> Node:
    """The head of a cluster that is up."""
    return nodes[0]


def python(script: str) -> str:
    """A command that runs a Python script with the cluster's own packages."""
    return f"~/entrepot-venv/bin/python -c {shlex.quote(script)}"


def test_the_dashboard_is_not_on_the_network(head: Node, nodes: list[Node]) -> None:
    """From another machine there is nobody to ask: neither for the dashboard, nor to take a job."""
    for command in (
        f"curl -sS -m 10 http://{head.address}:8265/api/version",
        f"{ANONYMOUS} ~/entrepot-venv/bin/ray job submit --address http://{head.address}:8265 -- true",
    ):
        done = nodes[1].run(f"mkdir -p /tmp/nobody; {command}", check=False, timeout=120)
        assert done.returncode != 0
        assert "refused" in (done.stdout + done.stderr).lower() or "Failed to connect" in done.stdout + done.stderr


def test_the_dashboard_wants_the_token(head: Node) -> None:
    """On the head itself it answers 401 without a token and 403 to a wrong one; with the right one it answers."""
    ask = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:8265"
    for path in ("/api/version", "/api/jobs/", "/nodes?view=summary", "/api/v0/nodes"):
        assert head.run(f"{ask}{path}").stdout == "401", path
        assert head.run(f"{ask}{path} -H 'Authorization: Bearer wrong'").stdout == "403", path
        assert head.run(f'{ask}{path} -H "Authorization: Bearer $(cat ~/.ray/auth_token)"').stdout == "200", path


def test_a_job_wants_the_token(head: Node) -> None:
    """`ray job submit` without a token is turned away on the head, too."""
    submit = "~/entrepot-venv/bin/ray job submit --address http://127.0.0.1:8265 -- touch /tmp/was-here"
    done = head.run(f"mkdir -p /tmp/nobody; {ANONYMOUS} {submit.replace('~', '/run/home')}", check=False, timeout=120)
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr or "auth" in (done.stdout + done.stderr).lower()
    assert head.run("ls /tmp/was-here", check=False).returncode != 0


@pytest.mark.parametrize("token", ["", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong"])
def test_the_control_store_wants_the_token(head: Node, nodes: list[Node], token: str) -> None:
    """A driver on another machine is refused without the token, and with a wrong one; with the right one it gets in."""
    script = python(CONNECT.format(address=head.address)).replace("~", "/run/home")
    refused = nodes[1].run(f"mkdir -p /tmp/nobody; {ANONYMOUS} {token} timeout 60 {script}", check=False, timeout=90)
    assert refused.returncode != 0
    assert "CPUS" not in refused.stdout
    if not token:
        allowed = nodes[1].run(f"RAY_AUTH_MODE=token timeout 60 {script}", timeout=90)
        assert "CPUS" in allowed.stdout
