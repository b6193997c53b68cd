"""What our service does with five times the connections that keep it fully busy, and right after.

The clients are rude: whoever is refused (429) asks again at once, whatever `Retry-After` says.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import Bar, BenchmarkResult
from benchmarks.load import offer
from benchmarks.serving import calls, prepare, service
from serve.ports import free_ports

BUSY = 64
"""Connections that keep the service fully busy: more bring no more answers (`benchmarks.serving`)."""
TIMES = 5
KEPT = 0.8
LATENCY = 1000.0
GROWTH = 20.0


def run(
    *, seconds: float = 60.0, calm: float = 10.0, replicas: int = 1, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Measures the service before, during and after an overload.

    Args:
        seconds: Length of the overload [s].
        calm: Length of the measurements before and after it [s].
        replicas: Processes of our service.
        progress: Called with a line after each measurement.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = prepare(folder)
        ports = free_ports(2)
        with service("ours", folder, ports[0], replicas=replicas, log_dir=str(folder)) as process:
            call = calls(folder, ports, key)[0]
            before = offer(call, BUSY, calm, refusals=True)
            progress(f"{BUSY} connections: {before.rate:,.0f} answers/s, p99 {before.p99:.0f} ms")
            offer(call, TIMES * BUSY, min(10.0, seconds), refusals=True)  # buffers and pools grow to their size
            first = memory(process.pid)
            during = offer(call, TIMES * BUSY, seconds, refusals=True)
            last = memory(process.pid)
            progress(
                f"{TIMES * BUSY} connections: {during.rate:,.0f} answers/s, p99 {during.p99:.0f} ms, "
                f"{during.refused:,.0f} refusals/s, memory {first:.0f} to {last:.0f} MiB"
            )
            time.sleep(1.0)
            after = offer(call, BUSY, calm, refusals=True)
            progress(f"a second later: {after.rate:,.0f} answers/s, p99 {after.p99:.0f} ms")
    bars = [
        Bar(f"{BUSY} connections, before [answers/s]", before.rate),
        Bar(f"{TIMES * BUSY} connections: refusals [1/s]", during.refused, 1.0),
        Bar(f"{TIMES * BUSY} connections: answers, share of before", during.rate / before.rate, KEPT),
        Bar(f"{TIMES * BUSY} connections: p99 of answers [ms]", during.p99, LATENCY, at_most=True),
        Bar("growth of memory during it [MiB]", last - first, GROWTH, at_most=True),
        Bar("a second later: answers, share of before", after.rate / before.rate, KEPT),
        Bar("a second later: p99 over that of before", after.p99 / before.p99, 2.0, at_most=True),
    ]
    runs: dict[str, Any] = {"before": vars(before), "during": vars(during), "after": vars(after)}
    return BenchmarkResult(bars, runs)


def memory(pid: int) -> float:
    """Resident memory of the service's replicas [MiB]."""
    processes = psutil.Process(pid).children(recursive=True)
    replicas = [each for each in processes if "PolicyServer" in " ".join(each.cmdline())]
    return sum(each.memory_info().rss for each in replicas) / 2**20
