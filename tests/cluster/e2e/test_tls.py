"""The switch for TLS: the same machines, started again with it."""

from __future__ import annotations

from pathlib import Path

from cluster.testbed.lab import Node
from cluster.testbed.trial import RESULTS, entrepot

HANDSHAKE = (
    "timeout 15 openssl s_client -connect {address}:6379 -CAfile /run/home/.ray/tls/ca.crt {proof} </dev/null 2>&1"
)
PROOF = "-cert /run/home/.ray/tls/server.crt -key /run/home/.ray/tls/server.key"


def test_tls(cluster: Path, nodes: list[Node]) -> None:
    """Nodes find each other and train over TLS, the control store proves who it is, and plain connections fail."""
    entrepot("cluster", "up", str(cluster), "--tls")
    head, other = nodes[0], nodes[1]
    shaken = other.run(HANDSHAKE.format(address=head.address, proof=PROOF), check=False)  # Ray hangs up on openssl
    assert "Verify return code: 0 (ok)" in shaken.stdout
    assert other.run("stat -c %a ~/.ray/tls/server.key").stdout.strip() == "600"
    script = f"import ray; ray.init(address='{head.address}:6379', logging_level='ERROR'); print('CPUS', ray.nodes())"
    plain = other.run(
        f'RAY_AUTH_MODE=token RAY_USE_TLS=0 timeout 60 ~/entrepot-venv/bin/python -c "{script}"',
        check=False,
        timeout=90,
    )
    assert plain.returncode != 0
    assert "CPUS" not in plain.stdout
    entrepot(
        "cluster", "submit", str(cluster), "--", "train", "cue", "--experiment", "tls",
        "--set", "tracking.enabled=false", "--set", f"resources.results={RESULTS}",
        "--set", "runners.num_env_runners=2", "--set", "stop.iterations=4",
    )  # fmt: skip
    assert (RESULTS / "tls" / "bundle" / "manifest.json").is_file()
