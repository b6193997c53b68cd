"""Where the service meets Serve's HTTP server: ours are answered in place, Serve's own go on to Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from serve import middleware


@pytest.fixture
def installed() -> Iterator[list[str]]:
    """An app is installed; the paths that it gets are taken down."""
    paths: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])

    former = middleware._app
    middleware.install(app)
    yield paths
    middleware._app = former


def ask(path: str) -> list[str]:
    passed: list[str] = []

    async def serves(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["path"])

    (wrapped,) = middleware.middlewares()
    short_cut = wrapped.cls(serves, *wrapped.args, **wrapped.kwargs)
    asyncio.run(short_cut({"type": "http", "path": path}, None, None))
    return passed


def test_ours_is_answered_in_place(installed: list[str]) -> None:
    """Requests do not reach Serve."""
    assert ask("/v2/models/m/infer") == []
    assert installed == ["/v2/models/m/infer"]


def test_serves_own_goes_on(installed: list[str]) -> None:
    """Serve's health checks and routes do."""
    assert ask("/-/healthz") == ["/-/healthz"]
    assert installed == []


def test_without_a_service_all_goes_on() -> None:
    """In Serve's other processes nothing is installed, and nothing changes."""
    assert ask("/v2/models/m/infer") == ["/v2/models/m/infer"]
