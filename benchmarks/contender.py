"""Contenders of a benchmark, each in a process of its own that waits while the others are measured.

Only the standard library is imported, for one contender runs in an environment that holds little else.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
MARK = "@answer "
"""What lines of the protocol begin with, for libraries print to the same stream. The first, empty answer: ready."""


class Contender:
    """A measuring process, one torch thread wide. Once made, it is ready, and idle until asked.

    Args:
        module: Module with a `main` that ends in `serve`, such as `benchmarks.sampling_worker`.
        options: What its `main` gets, JSON-able.
        python: Interpreter; the running one by default.
    """

    def __init__(self, module: str, options: dict[str, Any], python: str | Path = sys.executable) -> None:
        self.name = f"{module} {json.dumps(options)}"
        self.peak_mib = 0.0
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, `close` does
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        self._process = subprocess.Popen(
            [str(python), "-m", module, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env=environment,
            text=True,
        )
        self._answer()

    def measure(self) -> float:
        """Asks for one more figure, and waits for it.

        Raises:
            RuntimeError: If the process died, with the last of what it had to say.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead() from None
        answer = self._answer()
        self.peak_mib = answer["peak_mib"]
        return answer["figure"]

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                answer: dict[str, float] = json.loads(line.removeprefix(MARK))
                return answer
        raise self._dead()

    def _dead(self) -> RuntimeError:
        self._process.wait(timeout=30)
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()[-15:]
        return RuntimeError(f"{self.name}: exited with {self._process.returncode}\n" + "\n".join(words))

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(measure: Callable[[], float]) -> None:
    """The measuring side: answers until its input ends. The process stays on one core from here on."""
    pin()
    print(f"{MARK}{{}}", flush=True)
    for _ in sys.stdin:
        figure = measure()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{MARK}{json.dumps({'figure': figure, 'peak_mib': peak})}", flush=True)


def pin() -> None:
    """Keeps this thread, which does all the work, on the last core there is, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def options(arguments: Sequence[str]) -> dict[str, Any]:
    """What `Contender` passed to a worker."""
    given: dict[str, Any] = json.loads(arguments[1])
    return given
