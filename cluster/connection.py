"""A way to a cluster's dashboard, through which jobs go: a tunnel to the head, or an address that somebody forwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from cluster.credentials import token_path
from cluster.description import ClusterError, ClusterFile
from cluster.head import forwarding
from serve.ports import free_ports

PATIENCE = 60.0
"""How long a tunnel may take to stand [s]."""
ASKED = "/api/version"
VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Where a token is looked for first."""


class UnreachableError(ClusterError):
    """Nobody answers, which may pass."""


def is_url(target: str) -> bool:
    """Whether a cluster is given by its dashboard's URL, not by its file."""
    return target.startswith(("http://", "https://"))


@contextmanager
def connect(target: str, *, patience: float = PATIENCE) -> Iterator[str]:
    """Opens a way to a cluster.

    Args:
        target: Path of a cluster's file, or the URL of a dashboard that is already within reach.
        patience: How long that may take [s].

    Yields:
        The dashboard's URL.

    Raises:
        ClusterError: If there is no such cluster, it does not answer, or it refuses the token.
    """
    if is_url(target):
        check(target)
        yield target.rstrip("/")
        return
    cluster = ClusterFile.read(Path(target))
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with forwarding(cluster, port) as tunnel:
        deadline = time.monotonic() + patience
        while True:
            try:
                check(url)
                break
            except UnreachableError as error:
                if tunnel.gone or time.monotonic() > deadline:
                    raise UnreachableError(
                        f"cluster {cluster.name}: its head does not answer ({tunnel.last_words() or error}); if Ray is "
                        f"not up there, `entrepot cluster up {target}` starts it"
                    ) from error
                time.sleep(0.3)
        yield url


def check(url: str) -> None:
    """Asks a dashboard whether it is there and takes our token.

    Raises:
        UnreachableError: If it does not answer.
        ClusterError: If it refuses us.
    """
    try:
        answer = httpx.get(url.rstrip("/") + ASKED, headers=headers(), timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        raise UnreachableError(f"address: got {url}, nobody answers there ({error})") from error
    if answer.status_code in (401, 403):
        ours = next((name for name in VARIABLES if os.environ.get(name)), token_path())
        what = "a token" if answer.status_code == 401 else f"another token than that in {ours}"
        raise ClusterError(f"token: {url} wants {what}; it lies in {token_path()} of whoever started the cluster")
    if answer.status_code >= 500:
        raise UnreachableError(f"address: got {url}, which answers {answer.status_code}")


def headers() -> dict[str, str]:
    """What a request needs to be let in: `RAY_AUTH_TOKEN`, the file that `RAY_AUTH_TOKEN_PATH` names, or ours."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or token_path())
    if not token and path.is_file():
        token = path.read_text(encoding="utf-8")
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
