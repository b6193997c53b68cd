"""The front door: takes requests as ASGI hands them over, and sends all answers.

`infer` and `act` take the lean path, in one pass and without a framework; everything else goes to the FastAPI app.
Whatever happens, the client gets a status, JSON and the id of its request.

Order of a lean request: key, body (none is read if the line is full), a place, policy. Who is refused costs next to
nothing, and waits `queue_timeout_s` for it, or clients that come back at once would leave no time for the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from itertools import count

from serve.admission import Admission
from serve.body import Bodies, Message, Reader, Receive, Scope, Send
from serve.bulk import ENCODING, TINY, Desk
from serve.errors import (
    Failed,
    MethodNotAllowed,
    NotFound,
    Refusal,
    RequestTimedOut,
    ServiceError,
    TimedOut,
)
from serve.guard import ANYONE, scope_of
from serve.service import PolicyService

log = logging.getLogger(__name__)

App = Callable[[Scope, Receive, Send], Awaitable[None]]

INFER, ACT = "infer", "act"
JSON = (b"content-type", b"application/json")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_ROUTES = 4096
_MAX_PATH = 512
"""Paths that are remembered are no longer than this; whoever asks chooses them, before showing a key."""
_MAX_ID = 128


def make_app(service: PolicyService, api: App | None = None) -> App:
    """The whole service as one ASGI app.

    Args:
        service: What answers.
        api: The app for all routes but `infer` and `act`; the service's own if None.
    """
    if api is None:
        from serve.api import make_api

        api = make_api(service)
    return Front(service, api)


class Front:
    """The ASGI app; see the module."""

    def __init__(self, service: PolicyService, api: App) -> None:
        self._service = service
        self._api = api
        settings = service.settings
        self._admission = Admission(
            settings.max_in_flight, settings.max_queued, settings.queue_timeout_s, settings.retry_after_s
        )
        service.admission = self._admission
        self._bodies = Bodies(settings, self._admission)
        self._timeout = settings.request_timeout_s
        self._routes: dict[str, tuple[str, str, str | None] | None] = {}
        self._ids = map(f"{os.urandom(6).hex()}%08x".__mod__, count())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        path = scope["path"]
        try:
            route = self._routes[path]
        except KeyError:
            route = self._learn(path)
        if route is not None:
            await self._lean(route, scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    # -- infer and act -------------------------------------------------------------------------------------------------

    async def _lean(self, route: tuple[str, str, str | None], scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        kind, model, which = route
        service, admission = self._service, self._admission
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = self._id_of(headers)
        reader = Reader(receive)
        caller, reply, refusal, body, received, admitted, desk = ANYONE, None, None, b"", 0, False, None
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"method: got {scope['method']}, allowed is POST", {"allow": "POST"})
            caller = service.guard.check(headers, "infer", model)
            if admission.full:
                await admission.refuse()
            async with asyncio.timeout(self._timeout):
                body = await self._bodies.read(headers, reader)
                received = len(body)
                if received > TINY or ENCODING in headers:
                    body, desk = await self._opened(model, headers, reader, body)
                if not (admitted := admission.enter()):
                    await admission.wait()
                    admitted = True
                if kind is INFER:
                    reply = await service.handle_infer(model, which, headers, body, caller.name, desk)
                else:
                    reply = await service.handle_act(model, headers, body, request_id, caller.name, desk)
        except ServiceError as error:
            refusal = error.refusal()
        except TimeoutError:
            refusal = self._late(reader).refusal()
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
            refusal = Failed(f"request {request_id}: the service failed; its log says why").refusal()
        finally:
            if admitted:
                admission.leave()
            if desk is not None:
                desk.leave()
            body = b""
            self._bodies.release(reader)
        if reply is not None:
            status, content, sent = 200, reply.body, reply.headers
        else:
            assert refusal is not None
            status, content, sent = refusal.status, refusal.body(), _headers_of(refusal)
            if not await self._bodies.drop(reader):
                sent.append((b"connection", b"close"))
        sent += ((b"content-length", b"%d" % len(content)), (b"x-request-id", request_id.encode("latin-1")))
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})
        seconds = time.perf_counter() - started
        name, version, rows = (model, reply.version, reply.rows) if reply is not None else ("", "", 0)
        service.metrics.observe(name, version, kind, status, seconds, rows)
        if refusal is not None:
            service.metrics.count("entrepot_refusals", refusal.reason)
        service.access_log.record(
            request_id=request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=seconds,
            model=name,
            version=version,
            key=caller.name,
            rows=rows,
            received=received,
            sent=len(content),
            error="" if refusal is None else refusal.message,
        )

    async def _opened(
        self, model: str, headers: dict[str, str], reader: Reader, body: bytes
    ) -> tuple[bytes, Desk | None]:
        """A body that is large, or packed: unpacked if it is small, else with the desk that is to read it."""
        bulk = self._service.bulk
        small = bulk.small(headers, body)
        if small is not None:
            return small, None
        self._service.models.model(model)  # before anything is done for one that is not there
        if ENCODING in headers:
            await self._bodies.charge(reader)
        return body, await bulk.desk()

    def _late(self, reader: Reader) -> ServiceError:
        if reader.waiting:
            return RequestTimedOut(f"body: it did not arrive within {self._timeout:g} s")
        return TimedOut(f"request: no answer within {self._timeout:g} s")

    # -- everything else -----------------------------------------------------------------------------------------------

    async def _rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request to the API app, and adds what all answers have."""
        started = time.perf_counter()
        service = self._service
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = self._id_of(headers)
        reader = Reader(receive)
        caller, status, size, refusal = ANYONE, 0, 0, None

        async def passed(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("latin-1"))]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            if _CONTROL.search(scope["path"]):  # a router may take "/metrics\n" for the path that it nearly is
                raise NotFound(f"path: got {scope['path'][:200]!r}, allowed are those of /docs")
            needed = scope_of(scope["method"], scope["path"])
            if needed is not None:
                caller = service.guard.check(headers, needed, self._model_of(scope["path"]))
            self._bodies.length(headers)
            scope.setdefault("state", {}).update(request_id=request_id, caller=caller)
            async with asyncio.timeout(self._timeout):
                await self._api(scope, reader.message, passed)
        except ServiceError as error:
            refusal = error.refusal()
        except TimeoutError:
            refusal = self._late(reader).refusal()
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
            refusal = Failed(f"request {request_id}: the service failed; its log says why").refusal()
        if refusal is not None:
            service.metrics.count("entrepot_refusals", refusal.reason)
            if status == 0:
                body = refusal.body()
                sent = [*_headers_of(refusal), (b"content-length", b"%d" % len(body))]
                if not await self._bodies.drop(reader):
                    sent.append((b"connection", b"close"))
                await passed({"type": "http.response.start", "status": refusal.status, "headers": sent})
                await passed({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        seconds = time.perf_counter() - started
        service.metrics.observe("", "", "other", status, seconds)
        service.access_log.record(
            request_id=request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=seconds,
            key=caller.name,
            sent=size,
            error="" if refusal is None else refusal.message,
        )

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and end of the server, which need nothing; and web sockets, which there are none of."""
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    # -- small things --------------------------------------------------------------------------------------------------

    def _learn(self, path: str) -> tuple[str, str, str | None] | None:
        """Which lean route a path is, if any; remembered, as clients ask the same few."""
        route = lean_route(path)
        if len(path) > _MAX_PATH:
            return route
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        self._routes[path] = route
        return route

    def _id_of(self, headers: dict[str, str]) -> str:
        """The id that the client gave its request, if it is fit for a header and a log; else a new one."""
        given = headers.get("x-request-id")
        if given and len(given) <= _MAX_ID and given.isascii() and given.isprintable():
            return given
        return next(self._ids)

    def _model_of(self, path: str) -> str | None:
        """The model that a path is about, if there is such a one."""
        parts = path.split("/", 4)
        if len(parts) > 3 and (parts[1], parts[2]) in (("v2", "models"), ("v1", "policies")):
            return parts[3]
        return None


def lean_route(path: str) -> tuple[str, str, str | None] | None:
    """Route, model and pinned version of an `infer` or `act` path; None if it is another one."""
    if _CONTROL.search(path):
        return None
    parts = path.split("/")
    if len(parts) == 5 and parts[1] == "v2" and parts[2] == "models" and parts[4] == INFER:
        return INFER, parts[3], None
    if len(parts) == 7 and parts[1] == "v2" and parts[2] == "models" and parts[4] == "versions" and parts[6] == INFER:
        return INFER, parts[3], parts[5]
    if len(parts) == 5 and parts[1] == "v1" and parts[2] == "policies" and parts[4] == ACT:
        return ACT, parts[3], None
    return None


def _headers_of(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    more = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in refusal.headers.items()]
    return [JSON, *more]
