"""Machines on one machine: each with its own network, mounts, processes and SSH server, to try a cluster for real.

Runs inside the laboratory that `lab.sh` opens. The machines are wired to one switch, at 10.77.0.1 and up; the
laboratory itself is 10.77.0.254 and stands for the laptop a cluster is started from. `/mnt/shared` is the same folder
on all of them, and stands for network storage; everything else (`/tmp`, the home folder, shared memory) is each
machine's own. They have no internet: what `make setup` would install is there already, as this Python's environment.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

LAB = Path("/mnt/lab")
SHARED = Path("/mnt/shared")
KEY = LAB / "key"
GATEWAY = "10.77.0.254"
HERE = Path(__file__).resolve().parent

_SSHD = """
HostKey {lab}/host_key
AuthorizedKeysFile {lab}/key.pub
StrictModes no
PasswordAuthentication no
UsePAM no
PidFile none
PermitRootLogin yes
MaxStartups 100
Subsystem sftp internal-sftp
"""


def inside() -> bool:
    """Whether this process runs in a laboratory."""
    return os.environ.get("ENTREPOT_LAB") == "ready"


@dataclass
class Node:
    """One machine.

    Attributes:
        name: Its host name.
        address: Its IPv4 address.
    """

    name: str
    address: str
    _holder: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        """Whether it is switched on."""
        return self._holder is not None and self._holder.poll() is None

    @property
    def init(self) -> int:
        """Process id, as the laboratory sees it, of the machine's first process.

        Raises:
            RuntimeError: If the machine is off.
        """
        if self._holder is None or not self.alive:
            raise RuntimeError(f"{self.name}: is switched off")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if pids := children.read_text().split():
                return int(pids[0])
            time.sleep(0.02)
        raise RuntimeError(f"{self.name}: has no first process")

    def start(self) -> None:
        """Switches it on, with empty memory-backed folders, and waits until it takes SSH connections."""
        command = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        log = (LAB / f"{self.name}.log").open("ab")
        self._holder = subprocess.Popen(
            [*command, "bash", str(HERE / "node.sh"), self.name, self.address, sys.prefix],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        card = (
            f"02:00:00:00:00:{int(self.address.rpartition('.')[2]):02x}"  # the same after each start, as a real one's
        )
        _ip(f"link add {self._port} type veth peer name eth0 address {card} netns {self.init}")
        _ip(f"link set {self._port} master lab0 up")
        deadline = time.monotonic() + 20
        while self.ssh("true", check=False).returncode:
            if time.monotonic() > deadline or not self.alive:
                raise RuntimeError(f"{self.name}: takes no SSH connections; {LAB / self.name}.log says why")
            time.sleep(0.1)

    def destroy(self) -> None:
        """Switches it off without warning: all its processes are gone, and its network with them."""
        if self._holder is not None:
            with suppress(ProcessLookupError, RuntimeError):  # it may have ended by itself
                os.kill(self.init, signal.SIGKILL)
            self._holder.kill()
            self._holder.wait()
            self._holder = None
            # The kernel takes the cable away too, but in its own time, and the name may be wanted again at once.
            _run(["ip", "link", "delete", self._port], check=False, timeout=10)

    def cut(self) -> None:
        """Pulls the network cable."""
        _ip(f"link set {self._port} down")

    def mend(self) -> None:
        """Plugs the network cable back in."""
        _ip(f"link set {self._port} up")

    def run(self, command: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a shell command on the machine itself, without its network."""
        return _run([*self._enter(), "bash", "-c", command], check, timeout)

    def ssh(self, command: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command over SSH in a login shell, as a person would."""
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5"
        target = [f"root@{self.address}", f"bash --login -c {shlex.quote(command)}"]
        return _run(["ssh", "-i", str(KEY), *options.split(), *target], check, timeout)

    def pids(self, pattern: str) -> list[int]:
        """Ids, on the machine, of its processes whose command line matches a regular expression."""
        found = _run([*self._enter(), "pgrep", "-f", "--", pattern], check=False, timeout=10)
        return [int(pid) for pid in found.stdout.split()]

    def _enter(self) -> list[str]:
        """What a command is preceded by to run on the machine."""
        return ["nsenter", "--target", str(self.init), "--net", "--mount", "--pid", "--uts", "--ipc"]

    @property
    def _port(self) -> str:
        """Its port of the switch."""
        return f"lab-{self.name}"[:15]


@contextmanager
def machines(count: int) -> Iterator[list[Node]]:
    """Some machines that are switched on, and off again at the end.

    Raises:
        RuntimeError: If this is not a laboratory.
    """
    if not inside():
        raise RuntimeError(f"machines: there is no laboratory here; run this with {HERE / 'lab.sh'}")
    (LAB / "sshd_config").write_text(_SSHD.format(lab=LAB))
    nodes = [Node(f"node{number}", f"10.77.0.{number}") for number in range(1, count + 1)]
    try:
        for node in nodes:
            node.start()
        yield nodes
    finally:
        for node in nodes:
            node.destroy()


def _ip(arguments: str) -> None:
    _run(["ip", *arguments.split()], check=True, timeout=10)


def _run(command: list[str], check: bool, timeout: float) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise RuntimeError(
            f"{shlex.join(command)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done
