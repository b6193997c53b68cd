"""The shipped nginx configuration, in a real nginx with a certificate of its own, before the real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serve.api import make_api
from serve.asgi import make_app
from serve.client import PolicyClient
from serve.guard import Guard
from serve.keys import KeysFile
from serve.models import Models, ServedModel, ServedVersion
from serve.ports import free_ports
from serve.service import PolicyService
from serve.settings import ServeSettings

SHIPPED = Path(__file__).parents[3] / "serve" / "deploy" / "nginx.conf"
PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
OUTSIDE = "127.0.0.2"
"""An address that is not the one allowed to see figures."""


def needed(tool: str) -> str:
    """Where a program is, or the test is skipped."""
    found = shutil.which(tool, path=PLACES)
    if found is None:
        pytest.skip(f"no {tool} found; `make test-tools` as root, or `apt-get install {tool}`, installs it")
    return found


@dataclass(frozen=True)
class Proxied:
    """A service behind nginx."""

    url: str
    plain_url: str
    port: int
    certificate: Path
    logs: Path
    key: str

    def client(self, **options: Any) -> httpx.Client:
        """A client that trusts the certificate."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        key = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, verify=context, headers=key, **options)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {certificate}"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run([needed("openssl"), *command.split()], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Callable[[int], AbstractContextManager[tuple[int, int, Path]]]:
    """Starts an nginx with the shipped configuration, of which only what is marked CHANGE differs, and the ports."""

    class Nginx:
        def __init__(self, service_port: int) -> None:
            self.folder = tmp_path_factory.mktemp("nginx")
            self.ports = tuple(free_ports(2))
            text = SHIPPED.read_text()
            for wanted, instead in (
                ("server 127.0.0.1:8000;", f"server 127.0.0.1:{service_port};"),
                ("listen 80;", f"listen {self.ports[1]};"),
                ("listen [::]:80;", ""),
                ("listen 443 ssl http2;", f"listen {self.ports[0]} ssl http2;"),
                ("listen [::]:443 ssl http2;", ""),
                ("server_name policies.example.com;", "server_name localhost;"),
                ("/etc/ssl/entrepot/fullchain.pem", str(certificate[0])),
                ("/etc/ssl/entrepot/privkey.pem", str(certificate[1])),
                ("/var/log/nginx/", f"{self.folder}/"),
            ):
                assert wanted in text
                text = text.replace(wanted, instead)
            (self.folder / "entrepot.conf").write_text(text)
            temporary = "".join(
                f"  {kind}_temp_path {self.folder}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            main = "user root;\n" if os.geteuid() == 0 else ""
            main += f"daemon off;\nworker_processes 1;\npid {self.folder}/pid;\nerror_log {self.folder}/error.log;\n"
            main += "events { worker_connections 1024; }\n"
            main += f"http {{\n{temporary}  include {self.folder}/entrepot.conf;\n}}\n"
            (self.folder / "nginx.conf").write_text(main)

        def __enter__(self) -> tuple[int, int, Path]:
            command = [needed("nginx"), "-p", str(self.folder), "-e", str(self.folder / "error.log")]
            command += ["-c", str(self.folder / "nginx.conf")]
            checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
            self.process = subprocess.Popen(command)
            end = time.monotonic() + 20
            while time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", self.ports[0]), 1).close()
                    return *self.ports, self.folder
                except OSError:
                    time.sleep(0.02)
            raise AssertionError((self.folder / "error.log").read_text())

        def __exit__(self, *error: object) -> None:
            self.process.terminate()
            self.process.wait(20)

    return Nginx


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory,
    small_version: ServedVersion,
    as_model: Callable[..., ServedModel],
    listening: Callable[[Any], AbstractContextManager[str]],
    proxy: Callable[[int], AbstractContextManager[tuple[int, int, Path]]],
    certificate: tuple[Path, Path],
) -> Iterator[Proxied]:
    """The service behind nginx."""
    keys = KeysFile(tmp_path_factory.mktemp("keys") / "keys.json")
    key = keys.add("tester", scopes=("infer", "read", "metrics"))
    service = PolicyService(ServeSettings(), Models({"small": as_model(small_version)}), guard=Guard(keys))
    with ExitStack() as stack:
        address = stack.enter_context(listening(make_app(service, make_api(service))))
        port, plain, folder = stack.enter_context(proxy(int(address.rpartition(":")[2])))
        urls = f"https://localhost:{port}", f"http://localhost:{plain}"
        yield Proxied(*urls, port, certificate[0], folder, key)
    service.close()


def logged(proxied: Proxied, request_id: str) -> dict[str, Any]:
    """The line of nginx's log for a request."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for line in (proxied.logs / "entrepot.jsonl").read_text().splitlines():
            if (entry := json.loads(line))["request_id"] == request_id:
                return dict(entry)
        time.sleep(0.05)
    raise AssertionError(f"{request_id} is not in the log")


def test_our_client_gets_its_actions_over_tls(proxied: Proxied, small_version: ServedVersion) -> None:
    """What comes through nginx, encrypted and in binary, is what the policy answers."""
    observations = np.array(small_version.manifest.golden["shared"].observations, np.float32)
    with PolicyClient(proxied.url, key=proxied.key, ca_file=proxied.certificate) as client:
        assert client.ready()
        answer = client.infer("small", observations)
    wanted = small_version.policy.infer("shared", observations)
    np.testing.assert_allclose(answer.actions, wanted.actions, rtol=0, atol=1e-6)
    assert answer.version == "1"


def test_a_certificate_nobody_vouched_for_is_not_trusted(proxied: Proxied) -> None:
    """A client that does not know the certificate does not talk to the service."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{proxied.url}/v2/health/live")


def test_http_2_is_spoken(proxied: Proxied) -> None:
    """Clients that know HTTP/2 get it."""
    context = ssl.create_default_context(cafile=str(proxied.certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", proxied.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        assert encrypted.selected_alpn_protocol() == "h2"
        assert encrypted.version() in ("TLSv1.2", "TLSv1.3")


def test_plain_http_leads_to_tls(proxied: Proxied) -> None:
    """A request without encryption is sent to the encrypted address, method and body kept."""
    response = httpx.post(f"{proxied.plain_url}/v1/policies/small/act?x=1")
    assert response.status_code == 308
    assert response.headers["location"] == "https://localhost/v1/policies/small/act?x=1"


def test_one_id_goes_all_the_way(proxied: Proxied) -> None:
    """A client's id is in the answer and in nginx's log; an unfit one, or none, is replaced by one and the same."""
    with proxied.client() as client:
        assert client.get("/v2", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
        assert logged(proxied, "mine-1")["status"] == 200
        for unfit in ({"x-request-id": "x" * 200}, {"x-request-id": "two words"}, {}):
            given = client.get("/v2", headers=unfit).headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{32}", given)
            assert logged(proxied, given)["path"] == "/v2"


def test_a_huge_body_is_refused_at_the_door(proxied: Proxied) -> None:
    """More than the service takes does not reach it, and the refusal looks like one of its own."""
    with proxied.client() as client:
        response = client.post("/v2/models/small/infer", content=b" " * (17 * 2**20), headers={"x-request-id": "huge"})
    assert response.status_code == 413
    assert response.json() == {"error": "body: it is larger than allowed"}
    assert response.headers["x-request-id"] == "huge"


def test_the_service_s_own_refusals_pass_unchanged(proxied: Proxied) -> None:
    """Nginx puts no words in the service's mouth."""
    with proxied.client() as client:
        response = client.post("/v2/models/small/infer", content=b"{", headers={"x-request-id": "torn"})
        assert response.status_code == 400
        assert response.json()["error"].startswith("body: ")
        assert client.get("/v2/models/none").json()["error"].startswith("model: got 'none'")
        assert client.get("/v2", headers={"authorization": "Bearer ek_wrong"}).status_code == 401
        assert client.get("/").headers["content-security-policy"] == "frame-ancestors 'none'"
        assert "max-age" in client.get("/v2/health/live").headers["strict-transport-security"]


def test_figures_and_ray_s_routes_stay_inside(proxied: Proxied) -> None:
    """From another address nobody sees figures, key or not, and Ray Serve's own routes are not there at all."""
    with proxied.client() as client:
        assert "entrepot_requests_total" in client.get("/metrics").text
        response = client.get("/-/routes")
        assert (response.status_code, list(response.json())) == (404, ["error"])
    with proxied.client(transport=_from(OUTSIDE, proxied.certificate)) as client:
        response = client.get("/metrics")
        assert (response.status_code, list(response.json())) == (403, ["error"])
        assert client.get("/v2").status_code == 200


def test_an_address_has_so_many_connections(proxied: Proxied) -> None:
    """Who holds 64 requests open gets no more, and is told so; others do, and it does itself when one has ended."""
    context = ssl.create_default_context(cafile=str(proxied.certificate))
    half = b"POST /v2/models/small/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"
    with ExitStack() as stack:
        held = []
        for _ in range(64):
            plain = socket.create_connection(("127.0.0.1", proxied.port), 10, source_address=("127.0.0.3", 0))
            held.append(stack.enter_context(context.wrap_socket(plain, server_hostname="localhost")))
            held[-1].sendall(half)
        time.sleep(0.2)
        with proxied.client(transport=_from("127.0.0.3", proxied.certificate)) as client:
            response = client.get("/v2/health/live")
            assert (response.status_code, response.headers["retry-after"]) == (429, "1")
            assert response.json()["error"].startswith("load: ")
        with proxied.client() as client:
            assert client.get("/v2/health/live").status_code == 200
        held[0].close()
        time.sleep(0.2)
        with proxied.client(transport=_from("127.0.0.3", proxied.certificate)) as client:
            assert client.get("/v2/health/live").status_code == 200


def test_requests_without_a_key_are_few(proxied: Proxied) -> None:
    """Beyond a burst, who has no key is slowed down; who has one is not, however many requests."""
    context = ssl.create_default_context(cafile=str(proxied.certificate))

    def statuses(header: str) -> list[bytes]:
        """Of 250 requests sent at once, so that a slow machine is no slower than the rate allows."""
        plain = socket.create_connection(("127.0.0.1", proxied.port), 20, source_address=("127.0.0.4", 0))
        found, received = [], b""
        with plain, context.wrap_socket(plain, server_hostname="localhost") as encrypted:
            encrypted.sendall(f"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode() * 250)
            while len(found) < 250 and (more := encrypted.recv(65536)):
                received += more
                found = re.findall(rb"HTTP/1\.1 (\d+) ", received)
        return found

    assert statuses(f"Authorization: Bearer {proxied.key}\r\n") == [b"200"] * 250
    keyless = statuses("")
    assert keyless[:100] == [b"200"] * 100
    assert b"429" in keyless


def test_a_service_that_is_down_is_said_to_be(
    proxy: Callable[[int], AbstractContextManager[tuple[int, int, Path]]], certificate: tuple[Path, Path]
) -> None:
    """Without a service behind it nginx answers 503 and when to come back, as JSON."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with proxy(*free_ports(1)) as (port, _, _):
        response = httpx.get(f"https://localhost:{port}/v2/health/ready", verify=context)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == {"error": "service: it does not run, or is being restarted"}


def _from(address: str, certificate: Path) -> httpx.HTTPTransport:
    """Connections from another address of this machine."""
    context = ssl.create_default_context(cafile=str(certificate))
    return httpx.HTTPTransport(verify=context, local_address=address)
