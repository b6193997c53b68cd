"""What recurrent policies remember between requests, by session, for a limited time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from envs.base import FloatArray
from serve.settings import ServeSettings


@dataclass(frozen=True)
class Session:
    """What is remembered of a session.

    Attributes:
        version: Number of the version that it plays with; another network could not read its state.
        states: Recurrent state `[H]` by module, then by the row it belongs to (its index, or the agent's id).
    """

    version: str
    states: Mapping[str, Mapping[str, FloatArray]]

    @property
    def rows(self) -> int:
        """How many rows are remembered, all modules together."""
        return sum(len(rows) for rows in self.states.values())

    def after(self, earlier: Session | None) -> Session:
        """This together with what was remembered earlier of other rows, if that is of the same version."""
        if earlier is None or earlier.version != self.version:
            return self
        merged = {module: {**earlier.states.get(module, {}), **rows} for module, rows in self.states.items()}
        return Session(self.version, {**earlier.states, **merged})


class Sessions(Protocol):
    """Where sessions are kept, wherever that is."""

    async def get(self, key: str) -> Session | None:
        """What is remembered, or None if nothing is (any more)."""

    async def put(self, key: str, session: Session) -> bool:
        """Remembers rows of a session for its time to live, and leaves its others as they are.

        Returns:
            Whether it is remembered; it is not if the session would have too many rows.
        """


class SessionStore:
    """Sessions in memory. Each lives `ttl` seconds after it was last used; beyond the limits the least recent go.

    Args:
        ttl: Time to live [s].
        limit: Most sessions kept.
        session_rows: Most rows of a session.
        rows: Most rows of all sessions together.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        ttl: float,
        limit: int,
        *,
        session_rows: int = 4096,
        rows: int = 500_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._limit = limit
        self._session_rows = session_rows
        self._most_rows = rows
        self._clock = clock
        self._rows = 0
        self._kept: OrderedDict[str, tuple[float, Session]] = OrderedDict()  # the least recently used first

    @classmethod
    def of(cls, settings: ServeSettings) -> Self:
        """A store as the settings have it."""
        return cls(
            settings.session_ttl_s,
            settings.max_sessions,
            session_rows=settings.max_session_rows,
            rows=settings.max_remembered_rows,
        )

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

    def put(self, key: str, session: Session) -> bool:
        """Remembers rows of a session, beside those that it has: requests of one session may overlap.

        Returns:
            Whether it is remembered; it is not, and nothing changes, if the session would have too many rows.
        """
        self._forget()
        earlier = self._kept[key][1] if key in self._kept else None
        session = session.after(earlier)
        if session.rows > self._session_rows:
            return False
        self._rows += session.rows - (0 if earlier is None else earlier.rows)
        self._kept[key] = (self._clock() + self._ttl, session)
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit or self._rows > self._most_rows:
            self._drop()
        return True

    def _forget(self) -> None:
        """Drops what is over: as every use moves a session to the end, the first are the first to be over."""
        now = self._clock()
        while self._kept:
            end, _ = next(iter(self._kept.values()))
            if end > now:
                return
            self._drop()

    def _drop(self) -> None:
        """Drops the session that was used least recently."""
        _, (_, session) = self._kept.popitem(last=False)
        self._rows -= session.rows


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

    async def put(self, key: str, session: Session) -> bool:
        """Remembers rows of a session; false if it would have too many."""
        return self.store.put(key, session)
