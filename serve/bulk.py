"""Large bodies: unpacked and read in processes beside the replica.

A parser of JSON lets nothing else of its process run until it is done, in a thread or not, and a few bytes of gzip can
hold megabytes of it: sixteen megabytes of zeros take seconds, and ten times their size in memory. So whatever is more
than the event loop can read in passing goes to a process of its own, of low priority, which answers with arrays. There
are `readers` of them, and no more bodies are unpacked at once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from typing import Any

from serve.admission import Admission
from serve.body import SMALL
from serve.errors import TooLarge, Unavailable
from serve.models import ServedVersion
from serve.protocol.binary import LENGTH_HEADER
from serve.protocol.checks import unpacked
from serve.protocol.request import PolicyRequest
from serve.protocol.signature import Bounds, signature_of
from serve.settings import ServeSettings

ENCODING = "content-encoding"
TINY = 2**14
"""What the event loop reads in passing, whatever it holds, also packed: up to this size, unpacked [bytes]."""
FEW = 2**13
"""Most commas that it reads in passing otherwise, up to `SMALL`: numbers of the length that they usually have."""
_HEADERS = (ENCODING, LENGTH_HEADER)
_START = "import sys; sys.path[:] = sys.argv[2:]; from serve.bulk_worker import main; main(int(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class Head:
    """What decides which version answers.

    Attributes:
        version: Number or alias that the body pins; None if it pins none.
        session: Its session, if it has one.
    """

    version: str | None
    session: str | None


class Bulk:
    """The processes that read large bodies, started when the first is needed. For the thread of one event loop.

    Args:
        settings: The service's settings.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.seconds = settings.request_timeout_s
        self.bounds = Bounds(settings.max_rows, settings.max_body_bytes, settings.max_json_values)
        # To read a large body takes a while, so that its turn is worth waiting for; it holds no place meanwhile.
        patience = max(settings.queue_timeout_s, settings.request_timeout_s / 4)
        self.line = Admission(
            settings.readers, settings.max_queued, patience, settings.retry_after_s, "reads {} large bodies at once"
        )
        self.pool = ThreadPoolExecutor(settings.readers, thread_name_prefix="bulk")
        self.idle: list[Worker] = []

    def small(self, headers: dict[str, str], body: bytes) -> bytes | None:
        """The body, unpacked, if the event loop can read it in passing; None if not.

        Args:
            headers: The headers, names in lower case; what says that the body is packed goes, if it is so no longer.
            body: The body.

        Raises:
            serve.errors.ServiceError: If it cannot be unpacked.
        """
        encoding = headers.get(ENCODING)
        if encoding is None:
            said = headers.get(LENGTH_HEADER, "")  # of the JSON: arrays that are bytes are as good as read
            size = int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else len(body)
            few = size <= TINY or (size <= SMALL and body.count(b",", 0, size) <= FEW)
            return body if few else None
        if len(body) > SMALL:
            return None
        try:
            plain = unpacked(body, encoding, TINY)
        except TooLarge:
            return None
        del headers[ENCODING]
        return plain

    async def desk(self) -> Desk:
        """A process for one body, as soon as one is free.

        Raises:
            TooManyRequests: If none is in time, or too many wait.
        """
        if not self.line.enter():
            await self.line.wait()
        return Desk(self)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self.idle:
            worker.end()
        self.idle.clear()
        self.pool.shutdown(wait=False, cancel_futures=True)


class Desk:
    """A process for one body: first its JSON is read, then it is held against the version that is to answer.

    Args:
        bulk: Where it is.
    """

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk
        self._worker: Worker | None = None
        self._busy = self._left = False

    async def load(self, kind: str, body: bytes, headers: Mapping[str, str]) -> Head:
        """Unpacks a body and reads its JSON.

        Args:
            kind: `infer` or `act`.
            body: The body, packed if `headers` say so.
            headers: The headers, names in lower case.

        Raises:
            serve.errors.ServiceError: If it is not what the protocol wants.
        """
        given = {name: headers[name] for name in _HEADERS if name in headers}
        version, session = await self._ask((kind, given, self._bulk.bounds), body)
        return Head(version, session)

    async def parse(self, version: ServedVersion) -> Any:
        """The request, as `parse` of the protocol gives it; the process is free after it.

        Args:
            version: The version that is to answer.

        Raises:
            serve.errors.ServiceError: If it does not fit.
        """
        signature = signature_of(version.policy)
        request: PolicyRequest = await self._ask((signature, version.name), None)
        self.leave()
        return replace(request, signature=signature)

    def leave(self) -> None:
        """Gives the process to the next; ends it if it is at work still, on what nobody waits for any longer."""
        if self._left:
            return
        self._left = True
        if self._worker is not None:
            if self._busy or not self._worker.forget():
                self._worker.end(wait=not self._busy)
            else:
                self._bulk.idle.append(self._worker)
        self._bulk.line.leave()

    async def _ask(self, question: tuple[Any, ...], content: bytes | None) -> Any:
        """What the process answers."""
        self._busy = True
        loop = asyncio.get_running_loop()
        if self._worker is None:
            idle = self._bulk.idle
            self._worker = idle.pop() if idle else Worker()
        answer = await loop.run_in_executor(self._bulk.pool, self._worker.ask, question, content, self._bulk.seconds)
        self._busy = False
        if not isinstance(answer, Exception):
            return answer
        try:
            raise answer
        finally:
            del answer  # it holds this frame from here on


class Worker:
    """A process that reads bodies, one at a time; started by its first question.

    Attributes:
        process: The process; None: not started yet.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._connection, self._theirs = Pipe()
        self._ended = False

    def ask(self, question: tuple[Any, ...], content: bytes | None, seconds: float) -> Any:
        """Asks, and waits for the answer; in any thread.

        Args:
            question: What is asked.
            content: Bytes that belong to it.
            seconds: Longest time to wait [s].

        Returns:
            The answer, or the error that it is.
        """
        process = self.process or self._start()
        try:
            self._connection.send(question)
            if content is not None:
                self._connection.send_bytes(content)
            if not self._connection.poll(seconds):
                self.end(wait=False)
            return self._connection.recv()
        except (EOFError, OSError):
            process.wait()
            self._connection.close()
            return Unavailable("body: the process that reads large ones has ended, try again", {"retry-after": "1"})

    def forget(self) -> bool:
        """Lets go of a body that has been read but is not wanted; false if the process is not there any longer."""
        try:
            self._connection.send(None)
        except OSError:
            return False
        return True

    def end(self, *, wait: bool = True) -> None:
        """Ends the process; a thread that waits for its answer sees to the rest, if there is one."""
        self._ended = True
        if self.process is not None:
            self.process.kill()
            if wait:
                self.process.wait()
                self._connection.close()

    def _start(self) -> subprocess.Popen[bytes]:
        path = [folder or os.getcwd() for folder in sys.path]
        with self._theirs as theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), *path],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        if self._ended:  # in the moment that it took
            self.process.kill()
        return self.process
