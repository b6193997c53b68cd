"""Programs that are run here."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from cluster.description import ClusterError
from cluster.programs import last_line, run


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """Nothing of it is left."""
    stubborn = f"trap '' TERM; echo $BASHPID > {tmp_path}/child; sleep 600"  # outlives its leader
    script = f"( {stubborn} ) & sleep 600"
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"^slow: no answer within 1 s$"):
        run(["bash", "-c", script], "slow", timeout=1)
    assert time.monotonic() - began < 30
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.05)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_what_a_command_prints() -> None:
    """Is returned, errors among it; of one that fails, the last line is told."""
    assert run(["bash", "-c", "echo one; echo two >&2"], "two lines") == "one\ntwo\n"
    with pytest.raises(ClusterError, match=r"^wrong: failed with exit code 3: no such thing$"):
        run(["bash", "-c", "echo one; echo no such thing >&2; echo; exit 3"], "wrong")
    with pytest.raises(ClusterError, match=r"^silent: failed with exit code 3$"):
        run(["bash", "-c", "exit 3"], "silent")


def test_the_last_line() -> None:
    """Is the last that says something."""
    assert last_line("one\n two \n\n") == "two"
    assert last_line("\n") == ""
