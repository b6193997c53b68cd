"""Ray's cluster launcher, with its traps handled: clusters go up and down, commands run on the head.

What it does not do by itself on machines of one's own: with its new autoscaler (the default since Ray 2.50) it starts
no workers; its old one never tries a machine again that it could not set up once, as when it was off; `ray down` leaves
workers running until they miss their head. All three are made good here.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cluster.credentials import certify, ensure_token, tls_folder, token_path
from cluster.description import ROOT, ClusterError, ClusterFile

TOKEN_ON_NODES = "~/.ray/auth_token"
TLS_ON_NODES = "~/.ray/tls"
SSH = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5"
"""How the head reaches its workers, as the launcher does it."""


def up(cluster: ClusterFile, *, tls: bool = False) -> None:
    """Starts a cluster, or brings one that is up to what its file says; what runs there ends.

    Args:
        cluster: Its description.
        tls: Whether its processes encrypt what they say to each other, and prove who they are.

    Raises:
        ClusterError: If the launcher fails; its own words are on the terminal.
    """
    ensure_token()
    with _prepared(cluster, tls) as path:
        _ray(cluster, "up", "--yes", "--no-config-cache", str(path))


def down(cluster: ClusterFile) -> None:
    """Ends a cluster: Ray on every node, and the machines where they are rented.

    Raises:
        ClusterError: If the launcher fails.
    """
    if cluster.on_premises:
        try:
            execute(cluster, _stop_all(cluster))
        except ClusterError as error:  # a head that is off has nothing to stop, and its workers end by themselves
            print(f"the head could not be reached ({error}); workers that run end within two minutes", file=sys.stderr)
            return
    _ray(cluster, "down", "--yes", str(cluster.path))


def join(cluster: ClusterFile, workers: Sequence[str]) -> None:
    """Sets machines up as workers of a cluster that is up, without touching what runs there.

    For machines that were off, have been replaced by empty ones, or are new in the cluster's file.

    Args:
        cluster: Its description, on premises.
        workers: Addresses of the machines.

    Raises:
        ClusterError: If a machine cannot be reached from the head, or set up.
    """
    execute(cluster, _join_command(cluster, workers))


def execute(cluster: ClusterFile, command: str, *, timeout: float | None = None) -> str:
    """Runs a shell command on the head, in a login shell.

    Args:
        cluster: Where.
        command: What.
        timeout: How long it may take [s]; None: as long as it likes.

    Returns:
        What it printed, and what the launcher printed around it.

    Raises:
        ClusterError: If the head cannot be reached, or the command fails.
    """
    return _ray(cluster, "exec", "--no-config-cache", str(cluster.path), command, capture=True, timeout=timeout)


@contextmanager
def forwarding(cluster: ClusterFile, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Has a port of this machine's loopback lead to the dashboard, which listens on the head's loopback alone."""
    command = [_program(), "dashboard", "--no-config-cache", "--port", str(port), str(cluster.path)]
    tunnel = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment(cluster),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield tunnel
    finally:
        _end(tunnel)


# -- what is handed to Ray ---------------------------------------------------------------------------------------------


@contextmanager
def _prepared(cluster: ClusterFile, tls: bool) -> Iterator[Path]:
    """A cluster's file as the launcher gets it: paths that hold anywhere, the token, and certificates if wanted."""
    content: dict[str, Any] = dict(cluster.content)
    mounts: dict[str, str] = {there: str(_local(here)) for there, here in (content.get("file_mounts") or {}).items()}
    mounts.setdefault(TOKEN_ON_NODES, str(token_path()))
    if tls:
        if not cluster.on_premises:
            raise ClusterError(
                f"--tls: got it for {cluster.path.name}, allowed is a cluster whose addresses are known beforehand, "
                "with provider local"
            )
        certify(tls_folder(cluster.name), cluster.addresses)
        mounts[TLS_ON_NODES] = str(tls_folder(cluster.name))
    content["file_mounts"] = mounts
    with tempfile.TemporaryDirectory(prefix="entrepot-cluster-") as folder_name:
        for there, here in mounts.items():
            if Path(here) == ROOT:
                # The launcher reads all that it brings, even what `rsync_exclude` keeps back: here whole environments.
                mounts[there] = str(Path(folder_name) / "repository")
                left_out = shutil.ignore_patterns(*(content.get("rsync_exclude") or ()))
                shutil.copytree(ROOT, mounts[there], ignore=left_out, symlinks=True)
        path = Path(folder_name) / cluster.path.name
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        yield path


def _local(path: str) -> Path:
    expanded = Path(path).expanduser()
    return expanded if expanded.is_absolute() else (ROOT / expanded).resolve()


def _join_command(cluster: ClusterFile, workers: Sequence[str]) -> str:
    """A command for the head that does on each worker what the launcher would; all at once, it fails if one fails."""
    content = cluster.content
    mounts = [*(content.get("file_mounts") or ()), TLS_ON_NODES]
    left_out = " ".join(f"--exclude {shlex.quote(each)}" for each in content.get("rsync_exclude") or ())
    commands = [
        *(content.get(name) or () for name in ("initialization_commands", "setup_commands", "worker_setup_commands")),
        content.get("worker_start_ray_commands") or (),
    ]
    ssh = f"{SSH} -i ~/ray_bootstrap_key.pem"
    steps = []
    for mount in mounts:
        folder = mount.rpartition("/")[0]
        send = f'rsync -a {left_out} -e "{ssh}" {mount} {_user(cluster)}@$worker:{folder}/'
        steps.append(f"{{ test ! -e {mount} || {{ {ssh} {_user(cluster)}@$worker mkdir -p {folder} && {send}; }}; }}")
    for command in itertools.chain.from_iterable(commands):
        script = f"export RAY_HEAD_IP={shlex.quote(cluster.addresses[0])}; {command}"
        steps.append(f"{ssh} {_user(cluster)}@$worker {shlex.quote('bash --login -c ' + shlex.quote(script))}")
    each = f'({" && ".join(steps)}) </dev/null & jobs_started="$jobs_started $!"'
    addresses = " ".join(map(shlex.quote, workers))
    return f"for worker in {addresses}; do {each}; done; for job in $jobs_started; do wait $job || exit 1; done"


def _user(cluster: ClusterFile) -> str:
    return shlex.quote(str((cluster.content.get("auth") or {}).get("ssh_user", "root")))


def _stop_all(cluster: ClusterFile) -> str:
    """A command for the head that ends Ray there, lest it start workers anew, and then on the workers.

    The launcher's notes on nodes go too: a cluster that starts again must not take them for up.
    """
    stop = shlex.quote("bash --login -c 'ray stop --grace-period 5' >/dev/null 2>&1")
    workers = " ".join(map(shlex.quote, cluster.workers))
    notes = shlex.quote(f"/tmp/ray/cluster-{cluster.name}.")
    return (
        f"ray stop --grace-period 5; for worker in {workers}; do "
        f"{SSH} -i ~/ray_bootstrap_key.pem {_user(cluster)}@$worker {stop} & done; wait; rm -f {notes}state {notes}lock"
    )


def _ray(cluster: ClusterFile, *arguments: str, capture: bool = False, timeout: float | None = None) -> str:
    """Runs a command of Ray's; returns what it printed if that is captured."""
    try:
        done = subprocess.run(
            [_program(), *arguments],
            cwd=ROOT,
            env=_environment(cluster),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"ray {arguments[0]}: no answer from {cluster.name} within {timeout:g} s") from error
    if done.returncode:
        printed = [line.strip() for line in (done.stdout or "").splitlines() if line.strip()]
        reason = f": {printed[-1]}" if printed else ""
        raise ClusterError(f"ray {arguments[0]}: failed for {cluster.name} (exit code {done.returncode}){reason}")
    return done.stdout or ""


def _program() -> str:
    """Ray's command line, of this very environment."""
    beside = Path(sys.executable).with_name("ray")
    found = str(beside) if beside.is_file() else shutil.which("ray")
    if found is None:
        raise ClusterError("ray: not found beside this Python, allowed is an environment that `make setup` made")
    return found


def _environment(cluster: ClusterFile) -> dict[str, str]:
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


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
            return
        except ProcessLookupError:
            process.wait()
            return
        except subprocess.TimeoutExpired:
            continue
