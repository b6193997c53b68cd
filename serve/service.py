"""What the service knows and does, without HTTP around it and without Ray beneath it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil

from policies.bundle import Inference
from serve.access_log import AccessLog
from serve.admission import Admission
from serve.bulk import Bulk, Desk
from serve.engine import Engine
from serve.errors import BadRequest, TooManyRequests, Unavailable
from serve.explain import check_cost, explain
from serve.guard import Guard
from serve.metrics import Metrics, Snapshot
from serve.models import Choice, Models, ServedVersion, VersionNotFound
from serve.protocol import act, v2
from serve.protocol.memory import States
from serve.protocol.request import PolicyRequest
from serve.sessions import LocalSessions, Session, Sessions, SessionStore
from serve.settings import ServeSettings
from serve.shadow import Shadow

Pin = Callable[[str, str], Awaitable[Models | None]]
"""Asks for a version that is not loaded, by model and number or alias; None if there is no such one."""

_PLAUSIBLE = re.compile(r"[\w.-]{1,256}")
"""What a number or alias may look like: MLflow allows no other; what cannot be one is not asked for."""

Scrape = Callable[[], Awaitable[Snapshot]]
"""Fetches what all replicas have counted together."""


@dataclass(slots=True)
class Reply:
    """An answer.

    Attributes:
        body: Body of the response.
        headers: Headers of the response; the front adds length and id.
        version: Number of the version that answered.
        rows: Rows of observations answered.
    """

    body: bytes
    headers: list[tuple[bytes, bytes]]
    version: str
    rows: int


class PolicyService:
    """Answers requests from the models of one snapshot, which `models` may replace at any moment.

    Args:
        settings: The service's settings.
        models: What is served at first.
        guard: Who may ask; everybody if None.
        metrics: Where figures are counted.
        access_log: Where requests are taken down.
        sessions: Where recurrent sessions are kept; in this process if None.
        pin: Loads versions that are asked for by number and not loaded; None: there are no others.
        scrape: Fetches all replicas' figures; this process's only, if None.

    Attributes:
        models: The present snapshot. A request reads it once.
        admission: How many requests are worked on; the front sets it.
    """

    def __init__(
        self,
        settings: ServeSettings,
        models: Models | None = None,
        *,
        guard: Guard | None = None,
        metrics: Metrics | None = None,
        access_log: AccessLog | None = None,
        sessions: Sessions | None = None,
        pin: Pin | None = None,
        scrape: Scrape | None = None,
    ) -> None:
        self.settings = settings
        self.models = models or Models()
        self.guard = guard or Guard(None)
        self.metrics = metrics or Metrics()
        self.access_log = access_log or AccessLog(None)
        self.sessions = sessions or LocalSessions(SessionStore.of(settings))
        self.engine = Engine(big_rows=settings.big_rows, threads=settings.threads, on_batch=self._count_batch)
        self.bulk = Bulk(settings)
        self.admission: Admission | None = None
        self._lost = 0
        self._shadow = Shadow(self.engine, self.metrics)
        self._pin = pin
        self._pinning: dict[tuple[str, str], asyncio.Future[Models | None]] = {}
        self._scrape = scrape

    @property
    def ready(self) -> bool:
        """Whether there is a model to ask. Loaded ones are warm: they have played their golden observations."""
        return len(self.models) > 0

    async def choose(self, name: str, which: str | None = None, key: str | None = None) -> Choice:
        """The version that answers; one that is not loaded yet is fetched if the registry has it.

        Args:
            name: Name of the model.
            which: Number or alias that the request pins, if any.
            key: Session of the request, if any.

        Raises:
            NotFound: If there is no such model or version.
            TooManyRequests: If enough versions are being fetched already.
            Unavailable: If there is the version, but it cannot be had now.
        """
        try:
            return self.models.choose(name, which, key)
        except VersionNotFound:
            if self._pin is None or which is None or not _PLAUSIBLE.fullmatch(which):
                raise
            models = await self._fetched(self._pin, name, which)
            if models is None:
                raise
        try:
            return models.choose(name, which, key)
        except VersionNotFound as error:  # pushed out by other pins, or not loaded in this replica
            after = {"retry-after": str(ceil(self.settings.retry_after_s))}
            raise Unavailable(f"version of {name!r}: {which!r} cannot be had just now, try again", after) from error

    async def _fetched(self, pin: Pin, name: str, which: str) -> Models | None:
        """Models with a version that was not loaded. Requests for the same one share the work, and few run at once."""
        key = (name, which)
        task = self._pinning.get(key)
        if task is None:
            if len(self._pinning) >= self.settings.max_pinning:
                message = f"version of {name!r}: {which!r} is not loaded, and enough others are being loaded already"
                raise TooManyRequests(message, self.settings.retry_after_s)
            task = self._pinning[key] = asyncio.ensure_future(pin(name, which))
            task.add_done_callback(lambda _: self._pinning.pop(key, None))
        try:
            return await asyncio.shield(task)  # who asked may go, others still wait
        finally:
            del task  # if it failed: its error holds this frame, and the two would be a ring

    async def handle_infer(
        self,
        name: str,
        which: str | None,
        headers: Mapping[str, str],
        body: bytes,
        caller: str = "",
        desk: Desk | None = None,
    ) -> Reply:
        """Answers an `infer` request of the Open Inference Protocol.

        Args:
            name: Name of the model.
            which: Number or alias of the version, if the path has one.
            headers: Headers of the request, names in lower case.
            body: Its body.
            caller: Name of the key; nobody goes on with another's session.
            desk: Where the body is read, if it is large.

        Raises:
            ServiceError: If the request is not one that can be answered.
        """
        if desk is None:
            loaded = v2.load(body, headers, self.settings)
            choice, session = await self._chosen(name, which, loaded.session, caller)
            request = v2.parse(loaded, choice.version, self.settings)
        else:
            head = await desk.load("infer", body, headers)
            choice, session = await self._chosen(name, which, head.session, caller)
            request = await desk.parse(choice.version)
        if session is not None:
            request = request.with_memory(session.states)
        answers = await self._answer(choice, request)
        if request.session is not None and request.recurrent:
            await self._remember(choice.version, request.session, caller, request.memory(answers))
        content, sent = v2.render(request, answers, choice.version)
        return Reply(content, sent, choice.version.version, request.num_rows)

    async def handle_act(
        self,
        name: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
        caller: str = "",
        desk: Desk | None = None,
    ) -> Reply:
        """Answers an `act` request: named observations, agents, explanations.

        Args:
            name: Name of the model.
            headers: Headers of the request, names in lower case.
            body: Its body.
            request_id: Id of the request, which the answer repeats.
            caller: Name of the key; nobody goes on with another's session.
            desk: Where the body is read, if it is large.

        Raises:
            ServiceError: If the request is not one that can be answered.
        """
        if desk is None:
            loaded = act.load(body, headers, self.settings)
            choice, session = await self._chosen(name, loaded.version, loaded.session, caller)
            request = act.parse(loaded, choice.version, self.settings)
        else:
            head = await desk.load("act", body, headers)
            choice, session = await self._chosen(name, head.version, head.session, caller)
            request = await desk.parse(choice.version)
        if request.explain:
            check_cost(request, choice.version)
        if session is not None:
            request = request.with_memory(session.states)
        answers = await self._answer(choice, request)
        if request.session is not None and request.recurrent:
            await self._remember(choice.version, request.session, caller, request.memory(answers))
        explanations = None
        if request.explain:
            work = explain(request, answers, choice.version)
            explanations = await asyncio.get_running_loop().run_in_executor(self.engine.pool, work)
        render = partial(act.render, request, answers, choice.version, request_id, explanations)
        if request.num_rows <= self.settings.big_rows:
            content, sent = render()
        else:  # a table by agent for each step
            content, sent = await asyncio.get_running_loop().run_in_executor(self.engine.pool, render)
        return Reply(content, sent, choice.version.version, request.num_rows)

    async def _chosen(
        self, name: str, which: str | None, session: str | None, caller: str
    ) -> tuple[Choice, Session | None]:
        """The version that answers, and what the request's session remembers.

        A session goes on with the version that it began with, as long as that one is loaded: another network could
        not read its state. After that it begins anew, with no memory.
        """
        choice = await self.choose(name, which, session)
        if session is None or not choice.version.policy.state_sizes:
            return choice, None
        found = await self.sessions.get(_session_key(caller, name, session))
        if found is None or found.version == choice.version.version:
            return choice, found
        earlier = self.models.model(name).versions.get(found.version)
        if which is None and earlier is not None and earlier.policy.state_sizes:
            return Choice(earlier), found
        return choice, None

    async def _remember(self, version: ServedVersion, session: str, caller: str, states: States) -> None:
        key = _session_key(caller, version.name, session)
        if not await self.sessions.put(key, Session(version.version, states)):
            most = self.settings.max_session_rows
            raise BadRequest(f"session: got more agents or rows than a session remembers, allowed are {most} in all")

    async def _answer(self, choice: Choice, request: PolicyRequest) -> dict[str, Inference]:
        """Runs the chosen version, and afterwards the shadow."""
        version = choice.version
        answers = await self.engine.answer(
            version, request.rows, deterministic=request.deterministic, seed=request.seed
        )
        if choice.canary:
            self.metrics.count("entrepot_canary_requests", version.name, version.version)
        if choice.shadow is not None and request.deterministic:
            self._shadow.compare(version, choice.shadow, request.rows, answers)
        return answers

    def _count_batch(self, version: ServedVersion, rows: int, requests: int) -> None:
        self.metrics.observe_batch(version.name, version.version, rows, requests)

    async def snapshot(self) -> Snapshot:
        """What has been counted, by all replicas if there are several."""
        return self.own_snapshot() if self._scrape is None else await self._scrape()

    def own_snapshot(self) -> Snapshot:
        """What this process has counted."""
        if self.admission is not None:
            self.metrics.in_flight = self.admission.in_flight
            self.metrics.queued = self.admission.queued
        self.metrics.count("entrepot_access_log_lost", by=self.access_log.lost - self._lost)
        self._lost = self.access_log.lost
        self.metrics.clear("entrepot_served")
        for model in self.models:
            for reference, number in model.references():
                self.metrics.set("entrepot_served", model.name, number, reference, value=1.0)
        return self.metrics.snapshot()

    def close(self) -> None:
        """Ends threads and writes what is left to write."""
        self.engine.close()
        self.bulk.close()
        self.access_log.close()


def _session_key(caller: str, model: str, session: str) -> str:
    """What a session is remembered by: ids are each caller's own."""
    return "\0".join((caller, model, session))
