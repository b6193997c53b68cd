"""The one process that knows what is to be served: asks the registry, has the bundles, keeps sessions and totals."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import ray
from ray import serve

from serve.catalog import Catalog
from serve.metrics import Metrics, Snapshot, Totals
from serve.references import ModelState
from serve.sessions import Session, SessionStore
from serve.settings import ServeSettings

log = logging.getLogger("ray.serve")

UNKNOWN_SECONDS = 5.0
"""How long it is remembered that a version does not exist, before the registry is asked again [s]."""
_MOST_UNKNOWN = 10_000
_LONGEST = 256
"""Longest number or alias that there can be: MLflow allows 255 characters."""


@dataclass(frozen=True)
class Published:
    """What is to be served.

    Attributes:
        epoch: Which life of the control process numbered it.
        number: Its number in that life.
        states: The models.
        bundles: References to each bundle's files in Ray's object store, by hash.
    """

    epoch: str
    number: int
    states: tuple[ModelState, ...]
    bundles: Mapping[str, Any]


class Control:
    """Publishes numbered snapshots; replicas wait for the next one (a long poll) and fetch bundles they lack.

    If it dies, Serve starts it anew and the registry tells it everything but the sessions; replicas serve on meanwhile.

    Args:
        settings: The service's settings.
    """

    async def __init__(self, settings: ServeSettings) -> None:  # type: ignore[misc]  # Serve awaits it
        self._settings = settings
        self._metrics = Metrics()
        self._totals = Totals()
        self._sessions = SessionStore.of(settings)
        self._epoch = os.urandom(8).hex()
        self._number = 0
        self._stored: dict[str, Any] = {}
        self._unknown: OrderedDict[tuple[str, str], float] = OrderedDict()  # the first forgotten first
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._catalog = await asyncio.to_thread(Catalog, settings, on_reload=self._reloaded)
        await asyncio.to_thread(self._catalog.start)
        self._published = self._publish()
        self._poll = asyncio.create_task(self._follow())

    async def wait(self, epoch: str, number: int, seconds: float) -> Published | None:
        """The present snapshot as soon as it is another one than that the caller has; None if it is still that one.

        Args:
            epoch: Epoch of the snapshot that the caller has; "" for none.
            number: Its number.
            seconds: How long to wait [s].
        """
        async with self._changed:
            if (epoch, number) == (self._epoch, self._number):
                try:
                    await asyncio.wait_for(self._changed.wait(), seconds)
                except TimeoutError:
                    return None
        return self._published

    async def pin(self, name: str, which: str) -> Published | None:
        """Loads a version that a request asks for; None if there is no such one."""
        key = (name, which)
        if name not in self._catalog.states or len(which) > _LONGEST or self._is_unknown(key):
            return None
        async with self._one_at_a_time:
            state = self._catalog.states[name]
            if which in state.versions or which in state.aliases:
                return self._published
            if self._is_unknown(key):  # those who asked before have found out
                return None
            found = await asyncio.to_thread(self._catalog.pin, name, which)
            await self._renew()
            if found:
                return self._published
            self._unknown[key] = monotonic() + UNKNOWN_SECONDS
            self._unknown.move_to_end(key)
            if len(self._unknown) > _MOST_UNKNOWN:
                self._unknown.popitem(last=False)
        return None

    def _is_unknown(self, key: tuple[str, str]) -> bool:
        return self._unknown.get(key, 0.0) > monotonic()

    async def get_session(self, key: str) -> Session | None:
        """What is remembered of a session."""
        return self._sessions.get(key)

    async def put_session(self, key: str, session: Session) -> bool:
        """Remembers rows of a session; false if it would have too many."""
        return self._sessions.put(key, session)

    async def report(self, source: str, snapshot: Snapshot) -> None:
        """Takes what a replica has counted."""
        self._totals.update(source, snapshot)

    async def totals(self) -> Snapshot:
        """What all replicas have counted."""
        self._metrics.set("entrepot_sessions", value=float(len(self._sessions)))
        self._totals.update(self._epoch, self._metrics.snapshot(), replica=False)
        return self._totals.snapshot()

    async def _follow(self) -> None:
        """Asks the registry again and again."""
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            try:
                async with self._one_at_a_time:
                    await asyncio.to_thread(self._catalog.refresh)
                    await self._renew()
            except Exception:
                log.exception("the registry could not be followed; what is served stays as it is")

    async def _renew(self) -> None:
        """Publishes the catalog's states if they differ from what is published."""
        if tuple(self._catalog.states.values()) == self._published.states:
            return
        self._published = self._publish()
        async with self._changed:
            self._changed.notify_all()

    def _publish(self) -> Published:
        for digest, files in self._catalog.bundles.items():
            if digest not in self._stored:
                self._stored[digest] = ray.put(files)
        needed = {digest for state in self._catalog.states.values() for digest in state.versions.values()}
        self._stored = {digest: stored for digest, stored in self._stored.items() if digest in needed}
        self._number += 1
        return Published(self._epoch, self._number, tuple(self._catalog.states.values()), dict(self._stored))

    def _reloaded(self, model: str, version: str, taken: bool) -> None:
        self._metrics.count("entrepot_reloads", model, "taken" if taken else "refused")


CONTROL: Any = serve.deployment(
    Control,
    name="Control",
    num_replicas=1,
    max_ongoing_requests=10_000,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=2,
    health_check_timeout_s=30,
    graceful_shutdown_timeout_s=2,
    graceful_shutdown_wait_loop_s=0.1,
)
"""The deployment; never more than one replica."""
