"""The process that reads large bodies; see `serve.bulk`, which starts it and is the only one to speak to it."""

from __future__ import annotations

import gc
import os
import signal
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from serve.errors import ServiceError
from serve.protocol import act, v2
from serve.protocol.signature import Limits

NICE = 5
"""How far it stands back for the replicas, which answer small requests meanwhile."""


class Reading:
    """Reads one body after the other."""

    def __init__(self) -> None:
        self._loaded: tuple[Any, Any, Limits] | None = None

    def answer(self, question: tuple[Any, ...] | None, connection: Connection) -> Any:
        """What is sent back: the head of a body, or the request that it is, or an error; nothing if it is to forget.

        Args:
            question: Kind, headers and limits of a body, which follows; or signature and name of the version to hold
                the last one against; or None: it is not wanted.
            connection: Where the body comes from.
        """
        try:
            if question is None:
                self._loaded = None
            elif len(question) == 3:
                kind, headers, limits = question
                protocol = {"infer": v2, "act": act}[kind]
                loaded = protocol.load(connection.recv_bytes(), headers, limits)
                self._loaded = protocol, loaded, limits
                return getattr(loaded, "version", None), loaded.session
            elif self._loaded is not None:
                (protocol, loaded, limits), self._loaded = self._loaded, None
                return replace(protocol.fit(loaded, *question, limits), signature=None)
        except ServiceError as error:
            return error
        except Exception:
            return RuntimeError(traceback.format_exc())


def main(descriptor: int) -> None:
    """Answers until the replica is gone.

    Args:
        descriptor: Of the connection to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    # JSON has no rings, and millions of lists are looked through again and again for them; errors are cleared below.
    gc.disable()
    gc.freeze()
    reading = Reading()
    with Connection(descriptor) as connection, suppress(EOFError, OSError):
        while True:
            question = connection.recv()
            answer = reading.answer(question, connection)
            if question is not None:
                connection.send(answer)
            if question is None or len(question) == 2 or isinstance(answer, Exception):
                del question, answer
                gc.collect()
