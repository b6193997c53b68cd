"""What refused requests leave behind: an answer, and nothing in memory."""

from __future__ import annotations

import asyncio
import gc
import types
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest
from ray.exceptions import RayError

from serve.api import make_api
from serve.asgi import App, Front, make_app
from serve.errors import ServiceError, Unavailable
from serve.models import Models, ServedModel, ServedVersion
from serve.service import PolicyService
from serve.settings import ServeSettings

INFER, ACT = "/v2/models/team/infer", "/v1/policies/team/act"
Ask = Callable[..., Awaitable[tuple[int, bytes]]]


def tensor(name: str, rows: int = 1) -> dict[str, Any]:
    return {"name": f"{name}.observations", "datatype": "FP32", "shape": [rows, 11], "data": [0.5] * 11 * rows}


GOOD = orjson.dumps({"inputs": [tensor("shared")]})


def asker(app: Any) -> Ask:
    """Asks an app in this process; a body that is a list comes in parts, and one that ends with None not at all."""

    async def ask(
        path: str, body: bytes | list[bytes | None], method: str = "POST", **headers: str
    ) -> tuple[int, bytes]:
        parts = list(body) if isinstance(body, list) else [body]
        found: list[Any] = []

        async def receive() -> Any:
            if parts[:1] in ([], [None]):  # nothing comes any more, or nothing ever
                await asyncio.Event().wait()
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: Any) -> None:
            found.append(message)

        given = {"content-length": str(len(body))} if isinstance(body, bytes) and method == "POST" else {}
        pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in (given | headers).items()]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
        await app({**scope, "headers": pairs}, receive, send)
        return found[0]["status"], b"".join(message.get("body", b"") for message in found[1:])

    return ask


@pytest.fixture
def service(team_version: ServedVersion, as_model: Callable[..., ServedModel]) -> Iterator[PolicyService]:
    """Serves `team`; pins and figures are asked of a control process that does not answer."""

    async def pin(name: str, which: str) -> Models | None:
        await asyncio.sleep(0)
        try:
            raise RayError("dead")
        except RayError as error:
            raise Unavailable("control: does not answer") from error

    async def scrape() -> Any:
        await asyncio.sleep(60)

    settings = ServeSettings(request_timeout_s=60, queue_timeout_s=0.01, max_body_bytes=100_000, max_in_flight=4)
    models = Models({"team": as_model(team_version)})
    service = PolicyService(settings, models, pin=pin, scrape=scrape)
    yield service
    service.close()


def hurried(service: PolicyService) -> App:
    """The app of a service, with next to no patience."""
    hasty = PolicyService(service.settings.model_copy(update={"request_timeout_s": 0.05}))
    front = Front(hasty, make_api(service))
    front._service = service
    return front


@pytest.fixture
def uncollected() -> Iterator[Callable[[], list[Any]]]:
    """Switches the cyclic collector off; gives what only it could have freed since."""
    gc.collect()
    gc.disable()

    def rings() -> list[Any]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [each for each in gc.garbage if isinstance(each, types.FrameType | types.TracebackType | BaseException)]
        gc.garbage.clear()
        return found

    yield rings
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


REFUSED: dict[str, tuple[int, Any]] = {
    "no JSON": (400, lambda ask: ask(INFER, b"[" * 5000)),
    "not the protocol": (400, lambda ask: ask(INFER, orjson.dumps({"inputs": [{"name": "x", "data": [0] * 900}]}))),
    "no names": (400, lambda ask: ask(ACT, orjson.dumps({"observations": {"ann": [[0]] * 11, "cid": ["a"] * 11}}))),
    "no gzip": (400, lambda ask: ask(INFER, b"x" * 5000, content_encoding="gzip")),
    "other packing": (415, lambda ask: ask(ACT, b"x" * 5000, content_encoding="br")),
    "packed, no object": (400, lambda ask: ask(ACT, zlib.compress(b"[0]"), content_encoding="deflate")),
    "packed, large, no object": (
        400,
        lambda ask: ask(ACT, zlib.compress(b"[" + b"0," * 40_000 + b"0]"), content_encoding="deflate"),
    ),
    "too large": (413, lambda ask: ask(INFER, b" " * 200_000)),
    "too large, in parts": (413, lambda ask: ask(INFER, [b" " * 50_000] * 4)),
    "packed, too large": (413, lambda ask: ask(INFER, zlib.compress(bytes(10**6)), content_encoding="deflate")),
    "never ends": (408, lambda ask: ask(INFER, [b"{", None])),
    "no such model": (404, lambda ask: ask("/v2/models/nobody/infer", GOOD)),
    "no such version": (503, lambda ask: ask("/v2/models/team/versions/7/infer", GOOD)),
    "no such method": (405, lambda ask: ask(INFER, b"", "GET")),
    "no such path": (404, lambda ask: ask("/nowhere", b"", "GET")),
    "described, no such version": (404, lambda ask: ask("/v2/models/nobody/versions/7", b"", "GET")),
    "index": (400, lambda ask: ask("/v2/repository/index", b"[0]")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_bodies_are_not_kept(service: PolicyService, uncollected: Callable[[], list[Any]], name: str) -> None:
    """What a refused request held is free when it is answered, without the cyclic collector: no ring of frames."""
    status, refused = REFUSED[name]
    ask = asker(hurried(service) if status == 408 else make_app(service))

    async def run() -> None:
        for _ in range(3):
            assert (await refused(ask))[0] == status
        await asyncio.sleep(0)

    asyncio.run(run())
    assert uncollected() == []


@pytest.mark.parametrize("modules", [("shared",), ("shared", "first")])
def test_failures_are_not_kept(
    service: PolicyService, monkeypatch: pytest.MonkeyPatch, uncollected: Callable[[], list[Any]], modules: tuple[str]
) -> None:
    """Nor does a policy that fails leave a ring: alone, of several modules, in a shared call, or as the shadow."""
    ask = asker(make_app(service))
    body = orjson.dumps({"inputs": [tensor(name) for name in modules]})

    def fail(*args: Any, **options: Any) -> Any:
        raise ValueError("rows do not fit")

    monkeypatch.setattr("policies.bundle.BundlePolicy.infer", fail)

    async def run() -> None:
        for _ in range(2):
            assert {status for status, _ in await asyncio.gather(*[ask(INFER, body) for _ in range(4)])} == {500}

    asyncio.run(run())
    assert uncollected() == []


def test_late_answers_are_not_kept(
    service: PolicyService, monkeypatch: pytest.MonkeyPatch, uncollected: Callable[[], list[Any]]
) -> None:
    """Nor do requests that were given up on while they were worked on, or waited in line."""
    ask = asker(hurried(service))

    async def never(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(service.engine, "answer", never)

    async def run() -> None:
        answers = await asyncio.gather(*[ask(INFER, GOOD) for _ in range(6)])
        assert {status for status, _ in answers} == {429, 504}

    asyncio.run(run())
    assert uncollected() == []


def test_an_answer_on_its_way_holds_no_body(service: PolicyService) -> None:
    """While a slow client takes its refusal, neither the refused body nor what was made of it is in memory."""
    app, at_the_door = make_app(service), asyncio.Event()

    async def run() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b'{"observations": [[[', "more_body": False}

        async def send(message: Any) -> None:
            at_the_door.set()
            await asyncio.sleep(0)
            alive = [each for each in gc.get_objects() if isinstance(each, ServiceError)]
            assert alive == []

        await app({"type": "http", "method": "POST", "path": ACT, "headers": []}, receive, send)

    asyncio.run(run())
    assert at_the_door.is_set()


def test_a_stalled_control_process_is_no_late_body(service: PolicyService) -> None:
    """What waits for others than the client is a 504 that says so; only a body that does not come is a 408."""
    ask = asker(hurried(service))

    async def run() -> None:
        status, body = await ask("/metrics", b"", "GET")
        assert (status, orjson.loads(body)) == (504, {"error": "request: no answer within 0.05 s"})
        status, body = await ask("/v2/repository/index", [b"{", None])
        assert (status, orjson.loads(body)) == (408, {"error": "body: it did not arrive within 0.05 s"})

    asyncio.run(run())


def test_sentences_stay_short(service: PolicyService) -> None:
    """However long the names in a request are, the sentence that refuses it is not."""
    ask, long = asker(make_app(service)), "n" * 50_000

    async def run() -> None:
        for path, body in (
            (f"/v2/models/{long}/infer", GOOD),
            (f"/v2/models/team/versions/{long}/infer", GOOD),
            (INFER, orjson.dumps({"inputs": [{"name": long}]})),
            (ACT, orjson.dumps({"observations": {long: [0.5]}})),
            (ACT, orjson.dumps({"observations": {"ann": {f"{n}{'x' * 50}": 0.5 for n in range(900)}}})),
            (ACT, orjson.dumps({"module": long})),
            (ACT, orjson.dumps({"version": long})),
        ):
            status, answer = await ask(path, body)
            assert status in (400, 404), path[:60]
            assert len(answer) < 3000

    asyncio.run(run())
