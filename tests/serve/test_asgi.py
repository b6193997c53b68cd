"""The front door: ids, sizes, slow clients, overload, and answers whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.access_log import AccessLog
from serve.asgi import Front, lean_route, make_app
from serve.guard import Guard
from serve.keys import KeysFile
from serve.models import Models, ServedModel, ServedVersion
from serve.service import PolicyService
from serve.settings import ServeSettings

INFER = "/v2/models/small/infer"


def question(rows: int = 1) -> dict[str, Any]:
    return {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [rows, 11], "data": [0.5] * 11 * rows}]}


Serve = Callable[..., tuple[PolicyService, httpx.Client]]


@pytest.fixture
def serve(
    small_version: ServedVersion,
    as_model: Callable[..., ServedModel],
    listening: Callable[[Any], AbstractContextManager[str]],
) -> Iterator[Serve]:
    """Serves `small` with any settings; gives the service and a client."""
    ends: list[Callable[[], object]] = []

    def start(access_log: AccessLog | None = None, **settings: Any) -> tuple[PolicyService, httpx.Client]:
        models = Models({"small": as_model(small_version)})
        service = PolicyService(ServeSettings(**settings), models, access_log=access_log)
        context = listening(make_app(service))
        client = httpx.Client(base_url=context.__enter__(), timeout=30)
        ends.extend([service.close, lambda: context.__exit__(None, None, None), client.close])
        return service, client

    yield start
    for end in reversed(ends):
        end()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2/models/m/infer", ("infer", "m", None)),
        ("/v2/models/m/versions/3/infer", ("infer", "m", "3")),
        ("/v1/policies/m/act", ("act", "m", None)),
        ("/v2/models/m", None),
        ("/v2/models/m/infer/", None),
        ("/v2/models/a/b/infer", None),
        ("/", None),
    ],
)
def test_lean_routes(path: str, route: tuple[str, str, str | None] | None) -> None:
    """`infer` and `act` are lean, and nothing else is."""
    assert lean_route(path) == route


def test_id_is_answered(serve: Serve) -> None:
    """The client's id comes back, once; without one, or with one that no log should hold, a new one is made."""
    _, client = serve()
    for path, method in ((INFER, "POST"), ("/v2/health/live", "GET"), ("/nowhere", "GET")):
        given = client.request(method, path, json=question(), headers={"x-request-id": "my-id.7"})
        assert given.headers.get_list("x-request-id") == ["my-id.7"]
        made = [client.request(method, path, json=question()).headers["x-request-id"] for _ in range(3)]
        assert len(set(made)) == 3
    for bad in ("x" * 200, "a\tb"):
        assert client.post(INFER, json=question(), headers={"x-request-id": bad}).headers["x-request-id"] != bad


def test_wrong_method(serve: Serve) -> None:
    """Other methods than POST are told which one it is."""
    _, client = serve()
    response = client.get(INFER)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json() == {"error": "method: got GET, allowed is POST"}


@pytest.mark.parametrize("chunked", [False, True])
def test_huge_body(serve: Serve, chunked: bool) -> None:
    """A body over the limit is a 413, whether it says its size or not, and the connection goes on."""
    _, client = serve(max_body_bytes=100_000)
    body = b" " * 300_000
    content: Any = iter([body[:100_000]] * 3) if chunked else body
    response = client.post(INFER, content=content)
    assert response.status_code == 413
    assert "100000" in response.json()["error"]
    assert client.post(INFER, json=question()).status_code == 200


@pytest.mark.parametrize("length", ["-5", "1e3", "five"])
def test_odd_length(serve: Serve, length: str) -> None:
    """A length that is no number is refused, by the server or by us, and nothing dies."""
    _, client = serve()
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as raw:
        raw.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")
    assert client.post(INFER, json=question()).status_code == 200


def test_slow_body(serve: Serve) -> None:
    """A body that does not come is a 408 in time; meanwhile others are answered."""
    service, client = serve(request_timeout_s=0.5, max_in_flight=1, max_queued=0)
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as raw:
        raw.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{{".encode())
        time.sleep(0.1)
        assert client.post(INFER, json=question()).status_code == 200  # it holds no place
        answer = raw.recv(4000)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.5 s" in answer
    assert service.admission is not None
    assert service.admission.in_flight == 0


def test_client_that_hangs_up(serve: Serve) -> None:
    """A client that goes away in the middle of its body harms nobody."""
    service, client = serve()
    for _ in range(5):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as raw:
            raw.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{{".encode())
    assert client.post(INFER, json=question()).status_code == 200
    time.sleep(0.2)
    assert service.admission is not None
    assert service.admission.in_flight == 0


def test_overload(serve: Serve, small_version: ServedVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests than places and line: some get a 429 with Retry-After, the others are answered, all is well."""
    service, client = serve(max_in_flight=2, max_queued=2, queue_timeout_s=0.1, retry_after_s=3)
    answer = service.engine.answer

    async def slowly(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.25)
        return await answer(*args, **options)

    monkeypatch.setattr(service.engine, "answer", slowly)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as many:
            return await asyncio.gather(*[many.post(INFER, json=question()) for _ in range(12)])

    responses = asyncio.run(ask())
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["retry-after"] == "3"
    assert refused.json()["error"].startswith("load: ")
    monkeypatch.undo()
    assert client.post(INFER, json=question()).status_code == 200


def test_late_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that takes too long is a 504, and gives its place back."""
    service, client = serve(request_timeout_s=0.2)

    async def never(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(service.engine, "answer", never)
    response = client.post(INFER, json=question())
    assert (response.status_code, response.json()) == (504, {"error": "request: no answer within 0.2 s"})
    assert service.admission is not None
    assert service.admission.in_flight == 0


def test_failure_is_told_and_logged(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Should the service itself fail, the client gets an id to ask about, and the log has the trace under that id."""
    service, client = serve()

    async def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(service.engine, "answer", fail)
    with caplog.at_level(logging.ERROR):
        response = client.post(INFER, json=question(), headers={"x-request-id": "which"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "which" in response.json()["error"]
    assert any("which" in record.message and record.exc_info for record in caplog.records)


def test_held_bodies_are_bounded(serve: Serve) -> None:
    """Large bodies that arrive together hold no more memory than allowed: the others are told to come back."""
    _, client = serve(max_body_bytes=2**20, max_buffered_bytes=2**20, queue_timeout_s=0.05, request_timeout_s=5)
    address = (client.base_url.host, client.base_url.port or 80)
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {700_000}\r\n\r\n".encode()
    with socket.create_connection(address, timeout=10) as first:
        first.sendall(head + b" " * 1000)
        time.sleep(0.2)
        response = client.post(INFER, content=b" " * 700_000)
        assert response.status_code == 429
        assert client.post(INFER, json=question()).status_code == 200
    time.sleep(0.2)
    assert client.post(INFER, content=b" " * 700_000).status_code == 400


def test_bodies_are_held_until_the_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body counts as long as its request is worked on, not just until it has been read; after it, no more."""
    service, client = serve(max_body_bytes=2**20, max_buffered_bytes=2**20, queue_timeout_s=0.05)
    answer, working = service.engine.answer, threading.Event()

    async def slowly(*args: Any, **options: Any) -> Any:
        working.set()
        await asyncio.sleep(1)
        return await answer(*args, **options)

    monkeypatch.setattr(service.engine, "answer", slowly)
    large = json.dumps(question()).encode() + b" " * 700_000
    with ThreadPoolExecutor() as pool:
        for content in (large, iter([large])):  # with its length, and in chunks
            first = pool.submit(client.post, INFER, content=content)
            assert working.wait(10)
            assert client.post(INFER, content=large).status_code == 429
            assert first.result().status_code == 200
            working.clear()
    monkeypatch.undo()
    assert client.post(INFER, content=large).status_code == 200


@pytest.mark.parametrize("end", ["%0A", "%0D%0A", "%00", "%7F"])
def test_control_characters_lead_nowhere(
    small_version: ServedVersion,
    as_model: Callable[..., ServedModel],
    listening: Callable[[Any], AbstractContextManager[str]],
    tmp_path: Path,
    end: str,
) -> None:
    """A path that a router would take for another one reaches no route: neither another scope's nor a policy."""
    keys = KeysFile(tmp_path / "keys.json")
    headers = {"x-api-key": keys.add("reader", scopes=("read", "infer")), "x-request-id": "odd"}
    service = PolicyService(ServeSettings(), Models({"small": as_model(small_version)}), guard=Guard(keys))
    with listening(make_app(service)) as url, httpx.Client(base_url=url, headers=headers) as client:
        assert client.get("/metrics").status_code == 403
        for method, path in (("GET", "/metrics"), ("POST", INFER), ("POST", "/v1/policies/small/act")):
            response = client.request(method, path + end, json=question())
            assert (response.status_code, response.headers["x-request-id"]) == (404, "odd")
            assert response.json()["error"].startswith("path: got ")
    service.close()


def test_long_paths_are_not_remembered(small_version: ServedVersion) -> None:
    """Whoever has no key cannot fill the memory with long paths, which are found all the same."""
    front = Front(PolicyService(ServeSettings(), Models()), make_app(PolicyService(ServeSettings(), Models())))
    usual, long = f"/v2/models/{'m' * 256}/infer", f"/v2/models/{'m' * 600}/infer"
    assert front._learn(long) == ("infer", "m" * 600, None)
    front._learn(usual)
    assert list(front._routes) == [usual]


def test_access_log_and_metrics(serve: Serve, tmp_path: Path) -> None:
    """Every request is in the log and in the figures, refused ones with their reason."""
    log = AccessLog(tmp_path / "access.jsonl", flush_seconds=0.01)
    service, client = serve(access_log=log)
    client.post(INFER, json=question(3), headers={"x-request-id": "good"})
    client.post(INFER, json={"inputs": []}, headers={"x-request-id": "bad"})
    client.get("/v2", headers={"x-request-id": "other"})
    deadline = time.monotonic() + 5
    entries: dict[str, Any] = {}
    while len(entries) < 3 and time.monotonic() < deadline:
        lines = (tmp_path / "access.jsonl").read_text().splitlines()
        entries = {entry["request_id"]: entry for entry in map(json.loads, lines)}
        time.sleep(0.02)
    assert (entries["good"]["status"], entries["good"]["rows"], entries["good"]["version"]) == (200, 3, "1")
    assert (entries["bad"]["status"], entries["bad"]["model"]) == (400, "")
    assert "inputs" in entries["bad"]["error"]
    assert entries["other"]["path"] == "/v2"
    counters = service.own_snapshot().counters
    assert counters["entrepot_requests", ("small", "1", "infer", "200")] == 1
    assert counters["entrepot_rows", ("small", "1")] == 3
    assert counters["entrepot_refusals", ("invalid",)] == 1


def test_web_sockets_are_turned_away(small_version: ServedVersion) -> None:
    """There is nothing to speak by web socket: it is closed, and nothing fails."""
    app = make_app(PolicyService(ServeSettings(), Models()))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert sent == ["websocket.close"]
