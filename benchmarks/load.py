"""Offers load to an HTTP service with h2load, from nghttp2, and reads what it measured."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WARM_UP = 1
_RATE = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_CODES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")


@dataclass(frozen=True)
class Call:
    """One request, sent again and again.

    Attributes:
        url: Where to.
        body: File with its body.
        headers: Its headers.
    """

    url: str
    body: Path
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Load:
    """What came of it.

    Attributes:
        rate: Responses a second.
        p99: Quantile of their times [ms]; only where times are logged.
        refused: Refusals (429) a second; only where they are allowed.
    """

    rate: float
    p99: float = 0.0
    refused: float = 0.0


def offer(call: Call, connections: int, seconds: float, *, rate: float | None = None, refusals: bool = False) -> Load:
    """Sends a request over and over, each connection the next once the last is answered.

    Args:
        call: The request.
        connections: Connections that are open at once.
        seconds: How long, after a second to warm up [s].
        rate: Requests a second offered by all connections together; None: as many as are answered.
        refusals: Whether a 429 may come back. Whoever gets one sends the next request at once.

    Raises:
        RuntimeError: If h2load is missing, or anything came back but a 2xx, or a 429 where that is allowed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise RuntimeError("h2load: not found; install nghttp2-client (Debian), or nghttp2 (Homebrew)")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [program, "--h1", "-t1", f"-c{connections}", f"-D{seconds:g}", f"--warm-up-time={WARM_UP}"]
        command += [f"-d{call.body}", *(f"-H{name}: {value}" for name, value in call.headers.items())]
        timed = rate is not None or refusals
        if rate is not None:
            command.append(f"--rps={rate / connections:.6g}")
        if timed:
            command.append(f"--log-file={log}")
        done = subprocess.run([*command, call.url], capture_output=True, text=True, check=False)
        text = done.stdout + done.stderr
        found, codes = _RATE.search(text), _CODES.search(text)
        if found is None or codes is None:
            raise RuntimeError(f"h2load: {text.strip()[-300:]}")
        if not timed:
            _check(call, {count for count in map(int, codes.groups()[1:]) if count}, codes[0])
            return Load(float(found[1]))
        if not log.stat().st_size:
            raise RuntimeError(f"{call.url}: no answer came within {seconds:g} s")
        started, status, took = np.loadtxt(log, dtype=np.int64, ndmin=2).T
    # A status of 0 has what was under way when time was up, one request a connection at most.
    wrong = set(status[status > 0].tolist()) - {200, *([429] if refusals else [])}
    _check(call, wrong | ({0} if (status <= 0).sum() > connections else set()), codes[0])
    accepted = status == 200
    span = (started.max() - started.min()) / 1e6
    return Load(
        float(accepted.sum() / span),
        float(np.quantile(took[accepted], 0.99) / 1000.0),
        float((status == 429).sum() / span),
    )


def _check(call: Call, wrong: set[int], codes: str) -> None:
    if wrong:
        raise RuntimeError(f"{call.url}: {codes}")
