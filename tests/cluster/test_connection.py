"""The way to a cluster's dashboard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.connection import UnreachableError, check, connect
from cluster.description import ClusterError
from serve.ports import free_ports


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One that wants the token `right`; ours is in `RAY_AUTH_TOKEN` or in the home folder's file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            self.send_response(401 if given is None else 200 if given == "Bearer right" else 403)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_token_opens(dashboard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token, and with a wrong one, the error says so; with the file's or the variable's one is let in."""
    with pytest.raises(ClusterError, match="wants a token"), connect(dashboard):
        pass
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(ClusterError, match="wants another token"), connect(dashboard):
        pass
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("right\n")
    with connect(dashboard + "/") as url:
        assert url == dashboard


def test_nobody_there() -> None:
    """An address that nobody answers at may be tried again, unlike one that refuses us."""
    with pytest.raises(UnreachableError, match="nobody answers there"):
        check(f"http://127.0.0.1:{free_ports(1)[0]}")
