"""Programs that are run here: Ray's command line, of this very environment, and ssh."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.description import ROOT, ClusterError, ClusterFile


def ray(cluster: ClusterFile, *arguments: str, capture: bool = False, timeout: float | None = None) -> str:
    """Runs a command of Ray's for a cluster; the rest is as `run` has it."""
    name = f"ray {arguments[0]} for {cluster.name}"
    return run([ray_program(), *arguments], name, ray_environment(cluster), capture=capture, timeout=timeout)


def run(
    command: Sequence[str],
    name: str,
    environment: Mapping[str, str] | None = None,
    *,
    capture: bool = True,
    timeout: float | None = None,
) -> str:
    """Runs a command.

    Args:
        command: Its words.
        name: What it is called in errors.
        environment: Its environment; ours if None.
        capture: Whether what it prints is returned, not shown.
        timeout: How long it may take [s]; None: as long as it likes.

    Returns:
        What it printed, if that is captured.

    Raises:
        ClusterError: If it fails, or takes longer; nothing it started is left then.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
        start_new_session=capture,  # what is not captured may ask for a passphrase
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{name}: no answer within {timeout:g} s") from error
    finally:
        if process.poll() is None:
            end(process)
    if process.returncode:
        said = last_line(printed or "")
        raise ClusterError(f"{name}: failed with exit code {process.returncode}{said and f': {said}'}")
    return printed or ""


def end(process: subprocess.Popen[Any]) -> None:
    """Ends a process, and with it whatever it started if it leads a group."""
    try:
        leads = os.getpgid(process.pid) == process.pid
    except ProcessLookupError:
        process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number) if leads else process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            break
    if leads:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # those that outlive their leader


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def ray_program() -> str:
    """Ray's command line.

    Raises:
        ClusterError: If there is none.
    """
    beside = Path(sys.executable).with_name("ray")
    found = str(beside) if beside.is_file() else shutil.which("ray")
    if found is None:
        raise ClusterError("ray: not found beside this Python, allowed is an environment that `make setup` made")
    return found


def ray_environment(cluster: ClusterFile) -> dict[str, str]:
    """What Ray's command line reads, without what was said for another cluster."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    }
    return {
        **environment,
        "RAY_AUTH_MODE": "token",
        "RAY_UP_enable_autoscaler_v2": "0" if cluster.on_premises else "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
