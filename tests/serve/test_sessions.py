"""Sessions live as long as they are used, and there are never too many."""

from __future__ import annotations

import numpy as np

from serve.sessions import Session, SessionStore
from serve.settings import ServeSettings


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """The time set."""
        return self.now


def session(value: float) -> Session:
    return Session("1", {"shared": {"0": np.full(4, value, np.float32)}})


def test_remembers_and_forgets() -> None:
    """A session is over when nobody has used it for its time to live; each use begins that time anew."""
    clock = Clock()
    store = SessionStore(10.0, 100, clock=clock)
    store.put("a", session(1))
    clock.now = 9.0
    assert store.get("a") is not None
    clock.now = 18.0
    assert store.get("a") is not None
    clock.now = 28.5
    assert store.get("a") is None
    assert len(store) == 0


def test_bounded() -> None:
    """Beyond the limit those that were used least recently go."""
    store = SessionStore(10.0, 3, clock=Clock())
    for name in "abc":
        store.put(name, session(1))
    store.get("a")
    store.put("d", session(1))
    assert len(store) == 3
    assert store.get("b") is None
    assert store.get("a") is not None


def test_put_replaces() -> None:
    """What was put last is what is remembered."""
    store = SessionStore(10.0, 3, clock=Clock())
    store.put("a", session(1))
    store.put("a", session(2))
    found = store.get("a")
    assert found is not None
    assert found.states["shared"]["0"][0] == 2
    assert len(store) == 1


def rows(*names: str, version: str = "1") -> Session:
    return Session(version, {"shared": {name: np.zeros(4, np.float32) for name in names}})


def names(store: SessionStore, key: str) -> set[str]:
    found = store.get(key)
    return set() if found is None else set(found.states["shared"])


def test_rows_of_overlapping_requests_are_merged() -> None:
    """Rows are added to those of the same version, and take the place of another's."""
    store = SessionStore(10.0, 3, clock=Clock())
    store.put("a", rows("ann"))
    store.put("a", rows("bob"))
    assert names(store, "a") == {"ann", "bob"}
    store.put("a", rows("bob", version="2"))
    assert names(store, "a") == {"bob"}


def test_a_session_does_not_grow_without_end() -> None:
    """Rows beyond what a session may have are not remembered, and those that it has stay."""
    store = SessionStore.of(ServeSettings(max_session_rows=2))
    assert store.put("a", rows("ann", "bob"))
    assert not store.put("a", rows("zoe"))
    assert names(store, "a") == {"ann", "bob"}


def test_rows_are_bounded_in_all() -> None:
    """Few sessions of many rows push out the least recent, as many sessions do."""
    clock = Clock()
    store = SessionStore(10.0, 100, rows=4, clock=clock)
    for key in "abc":
        store.put(key, rows("ann", "bob"))
    assert [bool(names(store, key)) for key in "abc"] == [False, True, True]
    clock.now = 11.0
    assert len(store) == 0
    for key in "de":
        store.put(key, rows("ann", "bob"))
    assert len(store) == 2
