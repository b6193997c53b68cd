"""What recurrent policies remember between requests, by session, for a limited time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from envs.base import FloatArray


@dataclass(frozen=True)
class Session:
    """What is remembered of a session.

    Attributes:
        version: Number of the version that it plays with; another network could not read its state.
        states: Recurrent state `[H]` by module, then by the row it belongs to (its index, or the agent's id).
    """

    version: str
    states: Mapping[str, Mapping[str, FloatArray]]


class Sessions(Protocol):
    """Where sessions are kept, wherever that is."""

    async def get(self, key: str) -> Session | None:
        """What is remembered, or None if nothing is (any more)."""

    async def put(self, key: str, session: Session) -> None:
        """Remembers a session for its time to live."""


class SessionStore:
    """Sessions in memory. Each lives `ttl` seconds after it was last used; beyond `limit` the least recent go.

    Args:
        ttl: Time to live [s].
        limit: Most sessions kept.
        clock: Seconds that only ever grow.
    """

    def __init__(self, ttl: float, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._limit = limit
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Session]] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        self._forget()
        return len(self._kept)

    def get(self, key: str) -> Session | None:
        """What is remembered of a session, which lives on for another `ttl`; None if it is unknown or over."""
        self._forget()
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept[key] = (self._clock() + self._ttl, found[1])
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: str, session: Session) -> None:
        """Remembers a session."""
        self._forget()
        self._kept[key] = (self._clock() + self._ttl, session)
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def _forget(self) -> None:
        """Drops what is over: as every use moves a session to the end, the first are the first to be over."""
        now = self._clock()
        while self._kept:
            key, (end, _) = next(iter(self._kept.items()))
            if end > now:
                return
            del self._kept[key]


class LocalSessions:
    """Sessions of a service that is one process.

    Args:
        store: Where they are.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = store

    async def get(self, key: str) -> Session | None:
        """What is remembered, or None."""
        return self.store.get(key)

    async def put(self, key: str, session: Session) -> None:
        """Remembers a session."""
        self.store.put(key, session)
