"""Bodies of requests: read in time, never more than allowed, and dropped politely."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from serve.admission import Admission
from serve.errors import BadRequest, TooLarge
from serve.settings import ServeSettings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SMALL = 2**16
"""Bodies up to this are in the server's memory anyway [bytes]."""


class Reader:
    """Reads the body of a request, and knows whether its end has been reached.

    Attributes:
        ended: Whether nothing more comes.
        gone: Whether that is because the client is gone.
        waiting: Whether the client's next part is being waited for.
        held: What the body counts for, of all that is held [bytes]; `Bodies` sets it.
    """

    __slots__ = ("_receive", "ended", "gone", "held", "waiting")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False
        self.gone = False
        self.waiting = False
        self.held = 0

    async def __call__(self) -> bytes:
        """The next part of the body."""
        part: bytes = (await self.message()).get("body", b"")
        return part

    async def message(self) -> Message:
        """The next message, as ASGI has it."""
        self.waiting = True
        message = await self._receive()
        self.waiting = False
        self.ended = not message.get("more_body", False)
        self.gone = message["type"] == "http.disconnect"
        return message


class Bodies:
    """Reads bodies, within the settings' limits.

    Args:
        settings: The service's settings.
        admission: Refuses who would make the service hold too much.
    """

    def __init__(self, settings: ServeSettings, admission: Admission) -> None:
        self._admission = admission
        self._max_body = settings.max_body_bytes
        self._max_held = max(settings.max_buffered_bytes, settings.max_body_bytes)
        self._timeout = settings.request_timeout_s
        self._held = 0

    async def read(self, headers: dict[str, str], reader: Reader) -> bytes:
        """The body, if it is not too large; it counts as held until `release`, whatever comes of it."""
        length = self.length(headers)
        held = self._max_body if length is None else length if length > SMALL else 0
        if held:
            await self.charge(reader, held)
        body = await reader()
        if not reader.ended:
            parts = [body]
            size = len(body)
            while not reader.ended:
                part = await reader()
                size += len(part)
                if size > self._max_body:
                    raise TooLarge(f"body: got more than {self._max_body} bytes, which is the most allowed")
                parts.append(part)
            body = b"".join(parts)
        if length is None:  # its size was not said, and is known only now
            self._hold(reader, len(body) if len(body) > SMALL else 0)
        if reader.gone:
            raise BadRequest("body: the connection was closed before its end")
        if len(body) > self._max_body:
            raise TooLarge(f"body: got {len(body)} bytes, allowed are {self._max_body}")
        return body

    async def charge(self, reader: Reader, size: int | None = None) -> None:
        """Counts a body for more than it has been so far.

        Args:
            reader: Whose body it is.
            size: What it counts for [bytes]; the most that any may, if None: it is packed.

        Raises:
            TooManyRequests: If too much is held then, in all.
        """
        size = self._max_body if size is None else size
        if self._held - reader.held + size > self._max_held:
            await self._admission.refuse()
        self._hold(reader, size)

    def release(self, reader: Reader) -> None:
        """Says that the body is needed no longer."""
        self._hold(reader, 0)

    def _hold(self, reader: Reader, size: int) -> None:
        self._held += size - reader.held
        reader.held = size

    def length(self, headers: dict[str, str]) -> int | None:
        """What the body is said to measure [bytes], None if nothing is said."""
        given = headers.get("content-length")
        if given is None:
            return None
        if not given.isascii() or not given.isdecimal():
            raise BadRequest(f"content-length: got {given[:40]!r}, allowed is a number of bytes")
        length = int(given[:20])
        if length > self._max_body:
            raise TooLarge(f"body: got {length} bytes, allowed are {self._max_body}")
        return length

    async def drop(self, reader: Reader) -> bool:
        """Reads what is left of a refused body, so that the client comes to read the answer.

        Returns:
            Whether the end was reached, and the connection can go on.
        """
        most = 4 * self._max_body
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                while not reader.ended and most > 0:
                    most -= len(await reader())
        return reader.ended
