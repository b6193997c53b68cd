"""The replicas: each holds all versions of all models, follows the control process, and answers HTTP by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from serve.access_log import AccessLog
from serve.asgi import App, make_app
from serve.catalog import Files
from serve.control import Published
from serve.errors import Unavailable
from serve.guard import Guard
from serve.keys import KeysFile
from serve.loader import Loader
from serve.metrics import Snapshot
from serve.middleware import install
from serve.models import Models
from serve.service import PolicyService
from serve.sessions import Session
from serve.settings import ServeSettings

log = logging.getLogger("ray.serve")

WAIT_SECONDS = 20.0
RETRY_SECONDS = 5.0
"""When a bundle that could not be loaded here is tried again [s]."""
REPORT_SECONDS = 1.0
ACCESS_LOG = "access.jsonl"


class PolicyServer:
    """One replica. It is ready when its first snapshot is loaded and verified.

    Args:
        settings: The service's settings.
        control: Handle of the control process.
    """

    async def __init__(self, settings: ServeSettings, control: Any) -> None:  # type: ignore[misc]  # Serve awaits it
        self._settings = settings
        self._control = control
        self._id = serve.get_replica_context().replica_id.unique_id
        self._published: Published | None = None
        self._loader = Loader(self._fetch)
        self._one_at_a_time = asyncio.Lock()
        self._service = PolicyService(
            settings,
            guard=Guard(None if settings.keys_file is None else KeysFile(settings.keys_file), settings.replicas),
            access_log=AccessLog(None if settings.log_dir is None else settings.log_dir / ACCESS_LOG),
            sessions=_RemoteSessions(control),
            pin=self._pin,
            scrape=self._scrape,
        )
        published = await control.wait.remote("", 0, WAIT_SECONDS)
        await self._take(published)
        if not self._service.ready:
            raise RuntimeError("no model could be loaded; the log says why")
        self._app: App = make_app(self._service)
        install(self._app)
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._report())]

    def __serve_build_asgi_app__(self) -> App:
        """The app, for requests that Serve itself passes on."""
        return self._app

    def check_health(self) -> None:
        """Raises RuntimeError if the replica no longer follows the control process."""
        if stopped := [task for task in self._tasks if task.done()]:
            raise RuntimeError(f"a background task of the replica has ended: {stopped[0]}")

    async def _follow(self) -> None:
        """Takes up snapshots as they are published."""
        while True:
            try:
                known = self._published
                epoch, number = ("", 0) if known is None else (known.epoch, known.number)
                seconds = RETRY_SECONDS if self._loader.missing else WAIT_SECONDS
                published = await self._control.wait.remote(epoch, number, seconds)
                if published is not None:
                    await self._take(published)
                elif known is not None and self._loader.missing:
                    await self._take(known, again=True)
            except Exception as error:  # the control process is being started anew: what is served stays as it is
                log.warning("control does not answer (%s); asking again", type(error).__name__)
                await asyncio.sleep(1.0)

    async def _take(self, published: Published, *, again: bool = False) -> Models:
        """Loads a snapshot and makes it the one that is served; `again` if some of it is missing still."""
        async with self._one_at_a_time:
            known = self._published
            enough = published.number + 1 if again else published.number
            if known is not None and known.epoch == published.epoch and known.number >= enough:
                return self._service.models
            self._fetching = published
            models = await self._loader.models(published.number, published.states, self._service.models)
            self._published = published
            self._service.models = models
            return models

    async def _fetch(self, digest: str) -> Files:
        files: Files = await self._fetching.bundles[digest]
        return files

    async def _pin(self, name: str, which: str) -> Models | None:
        with _asking():
            published = await self._control.pin.remote(name, which)
            return None if published is None else await self._take(published)

    async def _report(self) -> None:
        """Sends what has been counted."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            try:
                await self._control.report.remote(self._id, self._service.own_snapshot())
            except Exception as error:
                log.warning("control does not take figures (%s)", type(error).__name__)

    async def _scrape(self) -> Snapshot:
        with _asking():
            await self._control.report.remote(self._id, self._service.own_snapshot())
            totals: Snapshot = await self._control.totals.remote()
            return totals


class _RemoteSessions:
    """Sessions in the control process."""

    def __init__(self, control: Any) -> None:
        self._control = control

    async def get(self, key: str) -> Session | None:
        """What is remembered, or None."""
        with _asking():
            session: Session | None = await self._control.get_session.remote(key)
            return session

    async def put(self, key: str, session: Session) -> bool:
        """Remembers rows of a session; false if it would have too many."""
        with _asking():
            remembered: bool = await self._control.put_session.remote(key, session)
            return remembered


@contextmanager
def _asking() -> Iterator[None]:
    """What is asked of the control process for a request; it may be being started anew.

    Raises:
        Unavailable: If it does not answer.
    """
    try:
        yield
    except (RayError, RayServeException) as error:
        log.warning("control does not answer a request (%s)", type(error).__name__)
        raise Unavailable("control: does not answer, try again in a moment", {"retry-after": "1"}) from error


POLICY_SERVER: Any = serve.deployment(
    serve.ingress()(PolicyServer),
    name="PolicyServer",
    max_ongoing_requests=10_000,  # admission is the service's own
    health_check_period_s=1,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=20,
    graceful_shutdown_wait_loop_s=0.2,
)
"""The deployment, which takes HTTP itself."""
