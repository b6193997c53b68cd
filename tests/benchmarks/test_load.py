"""Tests of the load that is offered to a service."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

from benchmarks.load import Call, offer

pytestmark = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing: `make test-tools` has it")


@pytest.fixture
def server() -> Iterator[str]:
    """Answers 200 at `/`, and 429 to every second request at `/full`."""
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            refused = self.path == "/full" and next(numbers) % 2
            self.send_response(429 if refused else 200 if self.headers["x-key"] == "secret" else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """A body of a request."""
    path = tmp_path / "body"
    path.write_text("{}")
    return path


def test_a_rate_is_kept(server: str, body: Path) -> None:
    """A service that can take it answers at the rate that is offered, and its times are known."""
    load = offer(Call(f"{server}/", body, {"x-key": "secret"}), 4, 2.0, rate=40.0)
    assert 20 < load.rate < 60
    assert load.p99 > 0
    assert load.refused == 0


def test_refusals_are_told_from_answers(server: str, body: Path) -> None:
    """Half of the requests are refused, and count as such where that is allowed; else they are an error."""
    call = Call(f"{server}/full", body, {"x-key": "secret"})
    load = offer(call, 2, 1.0, refusals=True)
    assert load.refused == pytest.approx(load.rate, rel=0.2)
    with pytest.raises(RuntimeError, match="4xx"):
        offer(call, 2, 1.0)


def test_an_unexpected_answer_is_an_error(server: str, body: Path) -> None:
    """A wrong key measures nothing."""
    with pytest.raises(RuntimeError, match="4xx"):
        offer(Call(f"{server}/", body, {"x-key": "wrong"}), 2, 1.0, refusals=True)
