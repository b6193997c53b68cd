"""The control process and a replica, each without Ray beneath it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from serve import control as control_module
from serve import deployment
from serve.control import Control, Published
from serve.deployment import PolicyServer
from serve.errors import Unavailable
from serve.sessions import Session
from serve.settings import ServeSettings


async def control_of(settings: ServeSettings) -> Control:
    control = Control.__new__(Control)
    await control.__init__(settings)  # type: ignore[misc]  # as Serve does
    control._poll.cancel()
    return control


class Remote:
    """Stands in for a handle of the control process.

    Args:
        control: The control process.
    """

    def __init__(self, control: Control) -> None:
        self.control = control
        self.down = False

    def __getattr__(self, name: str) -> Any:
        async def remote(*given: Any) -> Any:
            if self.down:
                raise RayActorError()
            return await getattr(self.control, name)(*given)

        return SimpleNamespace(remote=remote)


@pytest.fixture
def settings(make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    """Settings of a service of one bundle, and Ray out of the way."""
    monkeypatch.setattr(control_module.ray, "put", Stored)
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="one"))
    monkeypatch.setattr(deployment.serve, "get_replica_context", lambda: context)
    monkeypatch.setattr(deployment, "install", lambda app: None)
    return ServeSettings(models=(f"small={make_bundle(tmp_path / 'bundle')}",))


class Stored:
    """Stands in for a reference into the object store.

    Args:
        files: What it refers to.
    """

    def __init__(self, files: Any) -> None:
        self.files = files
        self.broken = False

    def __await__(self) -> Any:
        if self.broken:
            raise OSError("no space left on device")
        yield from asyncio.sleep(0).__await__()
        return self.files


def test_unknown_versions_are_asked_for_once(settings: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that ask together for a version that does not exist cost one look; what is remembered has bounds."""
    asked: list[str] = []

    async def run() -> None:
        control = await control_of(settings)
        monkeypatch.setattr(control._catalog, "pin", lambda name, which: asked.append(which))
        monkeypatch.setattr(control_module, "_MOST_UNKNOWN", 2)
        await asyncio.gather(*(control.pin("small", "9") for _ in range(4)))
        assert asked == ["9"]
        assert await control.pin("small", "9" * 300) is None
        assert await control.pin("other", "9") is None
        assert asked == ["9"]
        for which in ("10", "11"):
            await control.pin("small", which)
        assert list(control._unknown) == [("small", "10"), ("small", "11")]

    asyncio.run(run())


async def server_of(settings: ServeSettings, remote: Remote) -> PolicyServer:
    server = PolicyServer.__new__(PolicyServer)
    await server.__init__(settings, remote)  # type: ignore[misc]  # as Serve does
    return server


def test_a_replica_tries_again(
    settings: ServeSettings, make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that cannot load a new version serves the old one, and the new one as soon as it can be loaded."""
    monkeypatch.setattr(deployment, "RETRY_SECONDS", 0.05)

    async def run() -> None:
        control = await control_of(settings)
        server = await server_of(settings, Remote(control))
        before = server._service.models.model("small").current
        make_bundle(tmp_path / "bundle", seed=1)
        control._catalog.refresh()
        published: Published = control._publish()
        new = published.states[0].current
        stored = published.bundles[published.states[0].versions[new]]
        stored.broken = True
        control._published = published
        async with control._changed:
            control._changed.notify_all()
        await asyncio.sleep(0.3)
        assert server._service.models.model("small").current == before
        stored.broken = False
        for _ in range(100):
            await asyncio.sleep(0.05)
            if server._service.models.model("small").current == new:
                break
        assert server._service.models.model("small").current == new
        for task in server._tasks:
            task.cancel()

    asyncio.run(run())


def test_control_that_is_down_is_a_503(settings: ServeSettings) -> None:
    """While the control process is started anew, what needs it is refused with a word, not an error of the service."""

    async def run() -> None:
        remote = Remote(await control_of(settings))
        server = await server_of(settings, remote)
        for task in server._tasks:
            task.cancel()
        remote.down = True
        for work in (
            server._pin("small", "9"),
            server._service.sessions.get("s"),
            server._service.sessions.put("s", Session("1", {})),
            server._service.snapshot(),
        ):
            with pytest.raises(Unavailable, match=r"^control: does not answer"):
                await work

    asyncio.run(run())
