"""Looks after what Serve does not, or too slowly: HAProxy, and Ray's own processes.

Serve notices after half a minute that HAProxy is gone. Here it is noticed at once, a stand-in with the same
configuration answers within a second, and the process that lost its HAProxy is killed, for it would never again tell
it of replicas that come and go: Serve starts that process anew, whose HAProxy then takes over from the stand-in.
Without Ray's own processes there is no service: it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import subprocess
import time
from pathlib import Path

import psutil

from serve import front

log = logging.getLogger(__name__)

RAY = ("raylet", "gcs_server")
"""Names of the processes that Ray cannot be without."""
MANAGER = "HAProxyManager"
"""In the title of the process that starts HAProxy, and tells it of replicas."""
SECONDS = 10.0
"""After this long without HAProxy the service ends [s]."""
_SUBREAPER = 36


class EndedError(RuntimeError):
    """The service cannot go on; the message is one line."""


def adopt() -> None:
    """Makes this process the parent of all below it whose own parent ends: so it can end them too."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux: then there is no HAProxy either
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def kill_family() -> None:
    """Kills all processes below this one that still run."""
    for _ in range(10):  # some start others while they are being killed
        family = [each for each in psutil.Process().children(recursive=True) if _lives(each)]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not family:
            return
        psutil.wait_procs(family, timeout=2)


class Watch:
    """Looks after HAProxy and Ray.

    Args:
        folder: The service's folder, in which HAProxy has one of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._program = folder / front.PROGRAM
        self._config = next(folder.glob(f"*/{front.CONFIG}"))
        self._ray = [(each.name(), each) for each in psutil.Process().children() if each.name() in RAY]
        self._pid: int | None = None
        self._manager: psutil.Process | None = None
        self._stand_in: subprocess.Popen[bytes] | None = None
        self._missed = 0
        self._gone: float | None = None

    def look(self) -> None:
        """Looks once, and does what is needed; to be called several times a second.

        Raises:
            EndedError: If one of Ray's own processes has ended, or HAProxy has and does not start again.
        """
        for name, process in self._ray:
            if not _lives(process):
                raise EndedError(f"{name}, a process of Ray's own, has ended, and so does the service")
        try:
            pid = front.running(self._config.parent)
        except TimeoutError:
            return  # it is there, and busy
        if pid is None:
            self._missed += 1
            if self._missed > 1:  # once may be while one hands over to the next
                self._replace()
            return
        self._missed, self._gone = 0, None
        if pid != self._pid:
            self._pid = pid
            self._know(pid)
        if self._stand_in is not None and self._stand_in.poll() is not None:
            self._stand_in = None

    def ray_lives(self) -> bool:
        """Whether all of Ray's own processes run."""
        return all(_lives(process) for _, process in self._ray)

    def _know(self, pid: int) -> None:
        """Takes down who has started the HAProxy that listens now; if it is the stand-in, ends whoever had before."""
        if self._stand_in is not None and pid == self._stand_in.pid:
            if self._manager is not None and MANAGER in " ".join(_command(self._manager)):
                with contextlib.suppress(psutil.Error):
                    self._manager.kill()
            self._manager = None
            return
        with contextlib.suppress(psutil.Error):
            self._manager = psutil.Process(pid).parent()

    def _replace(self) -> None:
        """Starts a stand-in for HAProxy, if none is being started."""
        now = time.monotonic()
        if self._gone is None:
            self._gone = now
            log.warning("HAProxy has ended; starting it anew")
        errors = self._config.with_name("stand-in.log")
        if now - self._gone > SECONDS and self._stand_in is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._stand_in.wait(2)
            said = errors.read_text(errors="replace").split("\n") if errors.exists() else []
            why = next((line.strip() for line in reversed(said) if line.strip()), "it says nothing")
            raise EndedError(f"HAProxy has ended and does not start anew ({why})")
        if self._stand_in is None or self._stand_in.poll() is not None:
            with errors.open("ab") as stream:
                self._stand_in = subprocess.Popen(
                    [str(self._program), "-db", "-dR", "-f", str(self._config)],
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,  # Ctrl-C is for this process, which lets it end in order
                )


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
