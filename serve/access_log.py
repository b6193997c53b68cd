"""The access log: one line of JSON for each request, written beside the event loop."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import orjson

log = logging.getLogger(__name__)

_LONGEST = 512
"""Characters of a path or an id that are kept; whoever asks chooses them."""


class AccessLog:
    """Writes what was asked, by whom, and what came of it. All replicas on a machine may share one file.

    A request costs the making of its line; a thread writes what has gathered. Each write appends whole lines, which
    Linux does not mix up. A file that has grown too large is renamed to `NAME.1`, that one to `NAME.2`, and so on; one
    that was renamed by someone else, `logrotate` say, is noticed, and begun anew.

    Args:
        path: The file; None: nothing is written.
        max_bytes: Size above which a new file is begun [bytes].
        backups: Former files that are kept.
        flush_seconds: How often lines are written [s]; that much is lost if the process is killed.
        max_waiting: Lines that may wait, when the disk is slow or full; what comes then is counted and lost.

    Raises:
        OSError: If the file cannot be opened. Later on trouble is logged, and requests go on.
    """

    def __init__(
        self,
        path: str | Path | None,
        *,
        max_bytes: int = 64 * 2**20,
        backups: int = 5,
        flush_seconds: float = 0.1,
        max_waiting: int = 100_000,
    ) -> None:
        self.lost = 0
        self._path = None if path is None else Path(path).expanduser().absolute()
        self._max_bytes = max_bytes
        self._backups = backups
        self._flush_seconds = flush_seconds
        self._max_waiting = max_waiting
        self._lines: deque[bytes] = deque()
        self._file = -1
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._trouble = ""
        self._thread: threading.Thread | None = None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._open(self._path)
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def record(
        self,
        *,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        model: str = "",
        version: str = "",
        key: str = "-",
        rows: int = 0,
        received: int = 0,
        sent: int = 0,
        error: str = "",
    ) -> None:
        """Takes down a request.

        Args:
            request_id: Its id, as the response has it.
            method: Its method.
            path: Its path, without the query.
            status: Status of the response.
            seconds: How long it took [s].
            model: The model that answered, if one did.
            version: The version that answered, if one did.
            key: Name of the key, `-` if there was none.
            rows: Rows of observations.
            received: Size of its body [bytes].
            sent: Size of the response's body [bytes].
            error: Why it was refused, if it was.
        """
        if self._path is None:
            return
        if len(self._lines) >= self._max_waiting:
            self.lost += 1
            return
        entry: dict[str, object] = {
            "time": datetime.now(UTC),
            "request_id": request_id if len(request_id) <= _LONGEST else request_id[:_LONGEST],
            "method": method,
            "path": path if len(path) <= _LONGEST else path[:_LONGEST],
            "status": status,
            "ms": int(seconds * 1e6) / 1e3,
            "model": model,
            "version": version,
            "key": key,
            "rows": rows,
            "received": received,
            "sent": sent,
        }
        if error:
            entry["error"] = error[:_LONGEST]
        try:
            line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # half a surrogate pair, which UTF-8 has no form for
            line = json.dumps(entry, default=str).encode() + b"\n"
        self._lines.append(line)

    def flush(self) -> None:
        """Writes what has gathered."""
        with self._writing:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if not lines or self._path is None:
                return
            try:
                self._reopen(self._path)
                _write(self._file, b"".join(lines))
            except OSError as error:
                self.lost += len(lines)
                if str(error) != self._trouble:  # said once, not ten times a second
                    log.error("access log: cannot write %s (%s)", self._path, error.strerror or error)
                self._trouble = str(error)
            else:
                self._trouble = ""

    def close(self) -> None:
        """Writes what has gathered and closes the file; what comes after is not taken down."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()
        self._path = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _run(self) -> None:
        while not self._stop.wait(self._flush_seconds):
            self.flush()

    def _open(self, path: Path) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _reopen(self, path: Path) -> None:
        """Begins a new file where this one is full, or no longer the one of its name."""
        if self._file < 0 or not _same(self._file, path):
            self._open(path)
        if os.fstat(self._file).st_size < self._max_bytes:
            return
        with open(path.with_name(path.name + ".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _same(self._file, path):  # nobody else was faster
                for number in range(self._backups, 0, -1):
                    older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
                    if older.exists():
                        older.replace(path.with_name(f"{path.name}.{number}"))
                if not self._backups:
                    path.unlink()
        self._open(path)


def _same(file: int, path: Path) -> bool:
    """Whether an open file is the one that bears a name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write(file: int, text: bytes) -> None:
    """Writes all of a text; nearly always at once, which is what keeps lines whole."""
    view = memoryview(text)
    while view:
        view = view[os.write(file, view) :]
