"""Large bodies: read beside the event loop, a few at once, to the same answers and refusals."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import psutil
import pytest

import serve.bulk
from serve.asgi import make_app
from serve.bulk import FEW, TINY, Worker
from serve.errors import ServiceError
from serve.models import Models, ServedModel, ServedVersion
from serve.protocol import act, v2
from serve.service import PolicyService
from serve.settings import ServeSettings

INFER, ACT = "/v2/models/small/infer", "/v1/policies/small/act"
ROWS = 3000
SEEN = np.random.default_rng(0).uniform(-1, 1, (ROWS, 11)).astype(np.float32)
GOOD = orjson.dumps(
    {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [1, 11], "data": SEEN[0].tolist()}]}
)
BOMB = zlib.compress(b'{"inputs":[{"data":[' + b"0," * 2**22 + b"0]}]}", 9)
"""Eight kilobytes that are eight megabytes of zeros."""
MILLION = orjson.dumps(
    {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [1, 11], "data": [0] * 2**20}]}
)
"""As many values as are read yet, and far more than are asked for."""
PACKED = {"content-encoding": "deflate"}


def tensors(**more: Any) -> bytes:
    tensor = {"name": "observations", "datatype": "FP32", "shape": [ROWS, 11], "data": SEEN.ravel().tolist()}
    return orjson.dumps({"inputs": [tensor], **more})


def steps(**more: Any) -> bytes:
    return orjson.dumps({"observations": [{"ann": row} for row in SEEN.tolist()], **more})


def binary() -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "observations", "datatype": "FP32", "shape": [ROWS, 11]}
    head = orjson.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": SEEN.nbytes}}]})
    return head + SEEN.tobytes(), {"inference-header-content-length": str(len(head))}


async def asked(app: Any, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Asks an app in this process; gives status and JSON."""
    found: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        found.append(message)

    pairs = [(b"content-length", b"%d" % len(body))]
    pairs += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await app({"type": "http", "method": "POST", "path": path, "headers": pairs}, receive, send)
    return found[0]["status"], orjson.loads(found[1]["body"])


Make = Callable[..., PolicyService]


@pytest.fixture
def make(small_version: ServedVersion, as_model: Callable[..., ServedModel]) -> Iterator[Make]:
    """Makes a service of `small` with any settings; it is closed at the end, and its processes with it."""
    services: list[PolicyService] = []

    def started(**settings: Any) -> PolicyService:
        services.append(PolicyService(ServeSettings(**settings), Models({"small": as_model(small_version)})))
        return services[-1]

    yield started
    for service in services:
        service.close()


@pytest.fixture(scope="module")
def app(small_version: ServedVersion, as_model: Callable[..., ServedModel]) -> Iterator[Any]:
    """A service with default settings, whose process has read something already."""
    service = PolicyService(ServeSettings(request_timeout_s=60), Models({"small": as_model(small_version)}))
    app = make_app(service)
    assert asyncio.run(asked(app, INFER, tensors()))[0] == 200
    yield app
    service.close()


@pytest.mark.parametrize("pack", [None, "gzip", "deflate"])
@pytest.mark.parametrize("kind", ["infer", "binary", "act", "small"])
def test_answers_are_the_same(app: Any, small_version: ServedVersion, kind: str, pack: str | None) -> None:
    """A large body, packed or not, gets what its rows get from the policy."""
    path, rows = (ACT if kind == "act" else INFER), ROWS
    headers: dict[str, str] = {}
    body = steps() if kind == "act" else tensors()
    if kind == "binary":
        body, headers = binary()
    if kind == "small":
        body, rows = GOOD, 1
    if pack is not None:
        body, headers = {"gzip": gzip, "deflate": zlib}[pack].compress(body), headers | {"content-encoding": pack}
    status, answer = asyncio.run(asked(app, path, body, headers))
    assert status == 200
    wanted = small_version.policy.infer("shared", SEEN[:rows]).actions
    if kind == "act":
        found = np.array([list(step["ann"].values()) for step in answer["actions"]], np.float32)
    else:
        found = np.array(answer["outputs"][0]["data"], np.float32).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


REFUSED = {
    "no JSON": (INFER, b"[" * 70_000),
    "no object": (ACT, b"[" + b"0," * 70_000 + b"0]"),
    "no such field": (INFER, tensors(extra=1)),
    "does not fit": (INFER, tensors().replace(b"[3000,11]", b"[3000,12]")),
    "no such feature": (ACT, steps()[:-2] + b',{"ann":{"x":1}}]}'),
    "no number": (ACT, steps()[:-2] + b',{"ann":[0,1,2,3,4,5,6,7,8,9,"x"]}]}'),
    "out of bounds": (INFER, tensors().replace(b'"data":[', b'"data":[1e9,').replace(b"[3000,11]", b"[3000,11]")),
    "no such option": (ACT, steps(explain="all")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_the_same(app: Any, small_version: ServedVersion, name: str) -> None:
    """What is refused is refused with the sentence that it would get if it were small."""
    path, body = REFUSED[name]
    protocol: Any = v2 if path == INFER else act
    limits = ServeSettings()
    with pytest.raises(ServiceError) as caught:
        protocol.parse(protocol.load(body, {}, limits), small_version, limits)
    found = asyncio.run(asked(app, path, body))
    assert found == (caught.value.status, {"error": caught.value.message})


def test_others_are_answered_meanwhile(app: Any) -> None:
    """While bodies of millions of values are unpacked and read, the event loop goes on answering small requests."""

    async def run() -> int:
        bodies = [(zlib.compress(MILLION), PACKED)] * 2 + [(MILLION, {}), (BOMB, PACKED)]
        large = asyncio.gather(*[asked(app, INFER, body, headers) for body, headers in bodies])
        answered = 0
        while not large.done():
            status, _ = await asked(app, INFER, GOOD)
            assert status == 200
            answered += 1
            await asyncio.sleep(0)
        assert [status for status, _ in await large] == [400, 400, 400, 413]
        return answered

    assert asyncio.run(run()) > 20


def test_memory_stays_flat(app: Any) -> None:
    """Of bodies that a few bytes blow up to, nothing comes into the service's own memory."""

    async def run() -> None:
        for _ in range(9):
            assert (await asked(app, INFER, BOMB, PACKED))[0] == 413

    asyncio.run(run())
    tracemalloc.start()
    try:
        asyncio.run(run())
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_values_are_bounded(make: Make) -> None:
    """JSON of too many values is refused before it is read, whatever its size; packed, it may be a few bytes."""
    app = make_app(make(max_json_values=50_000))
    many = b'{"inputs":[' + b"[]," * 30_000 + b"0]}"

    async def run() -> None:
        for body, headers in ((many, {}), (zlib.compress(many), PACKED)):
            status, answer = await asked(app, INFER, body, headers)
            assert status == 413
            assert answer["error"].startswith(
                "body: got JSON with 60003 commas, colons and brackets, allowed are 50000"
            )

    asyncio.run(run())


class Slowly:
    """Holds up the processes' answers until it is told; counts how many are asked at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.now, self.most = threading.Event(), 0, 0
        ask = Worker.ask

        def slowly(worker: Worker, *args: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            self.go.wait(60)
            answer = ask(worker, *args)
            self.now -= 1
            return answer

        monkeypatch.setattr(Worker, "ask", slowly)


def test_few_are_read_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many large bodies are read at once, the others wait without a place, or are told to come back."""
    service = make(readers=2, max_queued=2, max_in_flight=3, queue_timeout_s=0.01, request_timeout_s=60)
    service.bulk.line._patience = 0.05
    app, slowly = make_app(service), Slowly(monkeypatch)
    here: list[int] = []
    unpacked = serve.bulk.unpacked

    def seen(body: bytes, encoding: str, most: int) -> bytes:
        here.append(most)
        return unpacked(body, encoding, most)

    monkeypatch.setattr(serve.bulk, "unpacked", seen)

    async def run() -> None:
        asking = [asyncio.ensure_future(asked(app, INFER, BOMB, PACKED)) for _ in range(5)]
        while sum(task.done() for task in asking) < 3:
            await asyncio.sleep(0.001)
        for status, answer in [task.result() for task in asking if task.done()]:
            assert (status, answer["error"][:52]) == (429, "load: the service reads 2 large bodies at once and h")
        assert service.admission is not None
        assert service.admission.in_flight == 2
        assert (await asked(app, INFER, GOOD))[0] == 200
        slowly.go.set()
        assert sorted(status for status, _ in await asyncio.gather(*asking)) == [413] * 2 + [429] * 3

    asyncio.run(run())
    assert slowly.most == 2
    assert set(here) == {TINY}


def test_packed_bodies_count_for_the_most(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody knows what a packed body unpacks to, it counts for the largest that is allowed."""
    service = make(max_buffered_bytes=2**24, queue_timeout_s=0.01, request_timeout_s=60)
    app, slowly = make_app(service), Slowly(monkeypatch)

    async def run() -> None:
        first = asyncio.ensure_future(asked(app, INFER, BOMB, PACKED))
        while not slowly.now:
            await asyncio.sleep(0.001)
        assert (await asked(app, INFER, BOMB, PACKED))[0] == 429
        assert (await asked(app, INFER, zlib.compress(GOOD), PACKED))[0] == 200
        slowly.go.set()
        assert (await first)[0] == 413
        assert (await asked(app, INFER, BOMB, PACKED))[0] == 413

    asyncio.run(run())


def test_a_process_that_ends_is_replaced(make: Make) -> None:
    """Killed, the process that reads is missed once at most: 503, come back; then another one reads."""
    service = make(request_timeout_s=60)
    app = make_app(service)

    async def run() -> None:
        assert (await asked(app, INFER, tensors()))[0] == 200
        (worker,) = service.bulk.idle
        assert worker.process is not None
        worker.process.kill()
        worker.process.wait()
        status, answer = await asked(app, INFER, tensors())
        assert (status, answer["error"][:5]) == (503, "body:")
        assert (await asked(app, INFER, tensors()))[0] == 200

    asyncio.run(run())


def test_what_nobody_waits_for_is_not_read_on(make: Make) -> None:
    """When its time is up the request is a 504, and the process is ended rather than left to read; the next reads."""
    service = make(request_timeout_s=60)
    app = make_app(service)

    async def run() -> None:
        assert (await asked(app, INFER, tensors()))[0] == 200
        (worker,) = service.bulk.idle
        assert worker.process is not None
        process = psutil.Process(worker.process.pid)
        process.suspend()
        app._timeout = 0.1
        assert (await asked(app, INFER, BOMB, PACKED))[0] == 504
        app._timeout = 60.0
        assert (await asked(app, INFER, tensors()))[0] == 200
        assert worker.process.wait(60) != 0
        assert service.bulk.line.in_flight == 0

    asyncio.run(run())


def test_an_unwanted_body_is_forgotten(make: Make) -> None:
    """A body for a version that is not there is let go of, and the same process reads the next."""
    service = make(request_timeout_s=60)
    app = make_app(service)

    async def run() -> None:
        assert (await asked(app, ACT, steps(version="9")))[0] == 404
        (worker,) = service.bulk.idle
        assert (await asked(app, "/v2/models/nobody/infer", tensors()))[0] == 404
        assert (await asked(app, ACT, steps()))[0] == 200
        assert service.bulk.idle == [worker]

    asyncio.run(run())


def test_processes_end_with_the_service(make: Make) -> None:
    """Closed or killed, a service leaves no process behind."""
    service = make(request_timeout_s=60)
    asyncio.run(asked(make_app(service), INFER, tensors()))
    (worker,) = service.bulk.idle
    assert worker.process is not None
    service.close()
    assert worker.process.poll() is not None
    orphan = Worker()
    assert orphan.ask((None, None), None, 60) is None
    assert orphan.process is not None
    orphan._connection.close()  # as the system does when the service is killed
    assert orphan.process.wait(60) == 0


def test_a_process_needs_no_policies() -> None:
    """Whoever only reads bodies imports neither the runtime nor the simulators: it starts soon and takes little."""
    heavy = ("ray", "torch", "onnxruntime", "onnx", "gymnasium", "pydantic", "policies", "envs")
    code = f"import sys, serve.bulk_worker; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("body", "headers", "passing"),
    [
        (b"[" + b"0," * (TINY // 2 - 2) + b"0]", {}, True),
        (b"[" + b"0," * TINY + b"0]", {}, False),
        (b"[" + b"0.1234567," * 6000 + b"0]", {}, True),
        (b"[" + b"0.1234567," * FEW + b"0]", {}, False),
        (b"{}" + b"," * 2**20, {"inference-header-content-length": "2"}, True),
        (b"0," * 2**15 + b"," * 2**20, {"inference-header-content-length": "65536"}, False),
        (b" " * 2**17, {"inference-header-content-length": "many"}, False),
        (zlib.compress(b" " * TINY), PACKED, True),
        (zlib.compress(b" " * (TINY + 1)), PACKED, False),
        (b" " * TINY, {"content-encoding": "identity"}, True),
    ],
)
def test_what_is_read_in_passing(make: Make, body: bytes, headers: dict[str, str], passing: bool) -> None:
    """The event loop reads what takes no longer than a policy: little, or numbers of the usual length."""
    assert (make().bulk.small(dict(headers), body) is not None) is passing
