"""The laboratory: machines on one machine, and nothing of them afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.description import ROOT
from cluster.testbed.lab import HERE, inside, machines

SCRIPT = """
from cluster.testbed.lab import machines
import pathlib, time
with machines(2) as (one, other):
{use}
    pathlib.Path({done!r}).write_text("done")
    time.sleep({stay})
"""
TRIED_OUT = """
    assert one.ssh("hostname").stdout == "node1\\n"
    assert other.ssh("cat /mnt/shared/note 2>/dev/null", check=False).returncode
    one.run("echo hello >/mnt/shared/note; echo mine >/tmp/note")
    assert other.ssh("cat /mnt/shared/note").stdout == "hello\\n"
    assert other.run("cat /tmp/note", check=False).returncode
    assert not one.pids("sshd.*node2")
    other.cut()
    assert other.ssh("true", check=False).returncode
    other.mend()
    assert other.ssh("true").returncode == 0
    other.destroy()
    assert not other.alive
    other.start()
    assert other.ssh("ls /tmp/note", check=False).returncode
"""
IN_USE = """
    for machine in (one, other):
        machine.run("echo mine >/tmp/note; echo ours >/mnt/shared/note; sleep 600 >/dev/null 2>&1 &")
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "ssh", "sshd"))) or inside(),
    reason="needs root, and make test-tools",
)


def laboratory(done: Path, stay: float) -> subprocess.Popen[bytes]:
    """Two machines that try each other out, or work if they stay on for some seconds; then they write `done`."""
    script = SCRIPT.format(use=IN_USE if stay else TRIED_OUT, done=str(done), stay=stay)
    return subprocess.Popen(
        [str(HERE / "lab.sh"), sys.executable, "-c", script],
        cwd=ROOT,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )


def namespaces(processes: Iterable[psutil.Process]) -> set[str]:
    """Those that some processes are in, and we are not."""
    found = set()
    for process in processes:
        for kind in ("net", "mnt", "pid"):
            with suppress(OSError):  # it has ended meanwhile
                found.add(os.readlink(f"/proc/{process.pid}/ns/{kind}"))
                found.discard(os.readlink(f"/proc/self/ns/{kind}"))
    return found


def traces() -> set[str]:
    """Network interfaces and files that a laboratory could leave."""
    interfaces = {path.name for path in Path("/sys/class/net").iterdir()}
    return interfaces | {str(path) for folder in ("/mnt", "/tmp", "/run") for path in Path(folder).glob("*lab*")}


@pytest.mark.parametrize("end", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(end: signal.Signals | None) -> None:
    """Machines have names, files and networks of their own and one folder in common; no trace is left at any end."""
    before, built = traces(), set()
    done = ROOT / f".lab-{os.getpid()}"  # the laboratory has a /tmp of its own
    try:
        process = laboratory(done, 0 if end is None else 600)
        deadline = time.monotonic() + 60
        while not done.exists():
            assert time.monotonic() < deadline
            assert process.poll() in (None, 0)
            with suppress(psutil.NoSuchProcess):
                built |= namespaces(psutil.Process(process.pid).children(recursive=True))
            time.sleep(0.1)
        if end is not None:
            process.kill() if end is signal.SIGKILL else os.killpg(process.pid, end)  # as a terminal or `timeout` does
        assert (process.wait(timeout=30) == 0) == (end is None)
    finally:
        done.unlink(missing_ok=True)
    assert len(built) >= 3 * 3, "the laboratory and each of two machines have a network, mounts and processes"
    deadline = time.monotonic() + 15
    while left := (traces() - before) | (namespaces(psutil.process_iter()) & built):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.parametrize("folder", ["/tmp", "/mnt"])
def test_the_repository_may_lie_where_a_laboratory_is_empty(folder: str) -> None:
    """A checkout under a folder of which the laboratory and its machines have their own is there, and it alone."""
    script = """
from cluster.testbed.lab import HERE, machines
assert {path.name for path in HERE.parents[2].iterdir()} == {"checkout"}
with machines(1) as (node,):
    assert node.run(f"ls {HERE}/lab.sh").stdout.startswith(str(HERE))
"""
    with tempfile.TemporaryDirectory(dir=folder) as outer:
        checkout = Path(outer) / "checkout"
        (Path(outer) / "beside").mkdir()
        shutil.copytree(ROOT / "cluster", checkout / "cluster")
        done = subprocess.run(
            [checkout / "cluster/testbed/lab.sh", os.path.realpath(sys.executable), "-c", script],  # not our .venv's
            cwd=checkout,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr


def test_machines_need_a_laboratory() -> None:
    """Outside of one, they are refused rather than made of this machine."""
    with pytest.raises(RuntimeError, match="there is no laboratory here"), machines(1):
        pass
