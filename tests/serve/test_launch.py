"""The whole service on Ray, behind HAProxy: it comes up closed, reloads without a drop, and survives its parts."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serve.keys import KeysFile
from serve.launch import LaunchError, check
from serve.settings import ServeSettings

LAG = 3.0
"""How long an alias may take to arrive: one poll, and what a busy machine adds [s]."""


class Load:
    """Threads that ask without a pause and take down what came, and when.

    Args:
        service: The service.
        threads: How many.
        path: What they ask.
    """

    def __init__(self, service: Any, threads: int, path: str = "/v2/models/small/infer") -> None:
        self._service = service
        self._path = path
        self._stop = threading.Event()
        self.answers: list[tuple[float, float, str]] = []
        self.failures: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        body = question()
        with httpx.Client(base_url=self._service.url, headers={"x-api-key": self._service.key}, timeout=15) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    response = client.post(self._path, content=body)
                    if response.status_code == 200:
                        version = response.json()["model_version"]
                        self.answers.append((began, time.monotonic(), version))
                    else:
                        self.failures.append((began, f"{response.status_code} {response.text[:200]}"))
                except httpx.HTTPError as error:
                    self.failures.append((began, repr(error)))


def question(rows: int = 1, **parameters: object) -> bytes:
    inputs = [{"name": "observations", "datatype": "FP32", "shape": [rows, 11], "data": [0.5] * 11 * rows}]
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def client_of(service: Any) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"x-api-key": service.key}, timeout=15)


def until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.1)
    return False


def test_only_loopback_listens(service: Any) -> None:
    """All listen on loopback only, but for what the deployment page names: a port of Serve's in each replica."""
    family = [service.process, *service.process.children(recursive=True)]
    assert [process for process in family if "haproxy" in process.name()]
    page = (Path(__file__).parents[2] / "serve" / "deploy" / "README.md").read_text()
    assert "| random, one in each replica and in the control process |" in page
    opened = [
        process.pid
        for process in family
        for each in process.net_connections("inet")
        # One that hands over to its successor listens no more.
        if each.status == psutil.CONN_LISTEN
        and not ipaddress.ip_address(each.laddr.ip.removeprefix("::ffff:")).is_loopback
    ]
    named = {process.pid for process in family if "ray::ServeReplica:" in " ".join(process.cmdline())}
    assert set(opened) <= named
    assert len(opened) == len(set(opened))
    for process in service.replicas():
        ports = {each.laddr.port: each.laddr.ip for each in process.net_connections("tcp") if each.status == "LISTEN"}
        assert {ip for port, ip in ports.items() if 30000 <= port <= 31000} == {"127.0.0.1"}


def test_ray_wants_a_token(service: Any) -> None:
    """Nobody else can join the service's Ray, not even from this machine."""
    family = service.process.children(recursive=True)
    gcs = next(process for process in family if "gcs_server" in process.name())
    options = dict(part.split("=", 1) for part in gcs.cmdline() if part.startswith("--") and "=" in part)
    script = (
        "import ray, sys\n"
        f"try: ray.init(address='127.0.0.1:{options['--gcs_server_port']}', logging_level='CRITICAL')\n"
        "except BaseException: sys.exit(7)\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    plain |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "2", "RAY_gcs_server_request_timeout_seconds": "2"}
    tried = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, timeout=120, check=False)
    assert tried.returncode != 0


def test_key_is_asked_for(service: Any) -> None:
    """Without a key nothing is answered but health; with it everything is."""
    with httpx.Client(base_url=service.url) as stranger:
        assert stranger.get("/v2/health/ready").status_code == 200
        assert stranger.post("/v2/models/small/infer", content=question()).status_code == 401
        assert stranger.get("/metrics").status_code == 401
    with client_of(service) as client:
        response = client.post("/v2/models/small/infer", content=question(), headers={"x-request-id": "mine-1"})
        assert response.status_code == 200
        assert response.headers.get_list("x-request-id") == ["mine-1"]


def test_versions_are_pinned_and_fetched_on_demand(service: Any) -> None:
    """A version that nothing refers to is loaded when it is asked for by number; one that is not there is a 404."""
    with client_of(service) as client:
        for number in ("3", "5"):
            response = client.post(f"/v2/models/small/versions/{number}/infer", content=question())
            assert response.status_code == 200, response.text
            assert response.json()["model_version"] == number
        for wrong in ("99", "nobody", "-1", "1e3"):
            response = client.post(f"/v2/models/small/versions/{wrong}/infer", content=question())
            assert response.status_code == 404
            assert wrong in response.json()["error"]


def test_sessions_are_shared_by_replicas(service: Any) -> None:
    """A session's state goes on whichever replica answers: the same as when the client carries the state itself."""
    with client_of(service) as client:
        state: list[float] | None = None
        for _ in range(12):
            inputs = [{"name": "observations", "datatype": "FP32", "shape": [1, 11], "data": [0.3] * 11}]
            remembered = client.post(
                "/v2/models/gru/infer", json={"inputs": inputs, "parameters": {"session": "test-1"}}
            ).json()
            if state is not None:
                inputs.append({"name": "state", "datatype": "FP32", "shape": [1, 4], "data": state})
            carried = client.post("/v2/models/gru/infer", json={"inputs": inputs}).json()
            assert remembered["outputs"] == carried["outputs"]
            state = next(each["data"] for each in carried["outputs"] if each["name"] == "state")
            client.headers["connection"] = "close"  # another connection may lead to another replica


def test_reload_under_load_drops_nothing(service: Any) -> None:
    """Fifty alias moves under load: no request fails, and every answer is from a version that was current."""
    moves: list[tuple[float, float, str]] = []
    current = str(service.registry.champion("small").version)
    with Load(service, 4) as load:
        for turn in range(50):
            number = turn % 5 + 1
            began = time.monotonic()
            service.registry.set_alias("small", "champion", number)
            moves.append((began, time.monotonic(), str(number)))
            time.sleep(0.25)
        last = moves[-1][2]
        assert until(lambda: [version for *_, version in load.answers[-20:]] == [last] * 20, 15)
    assert load.failures == []
    assert len(load.answers) > 200
    periods = [(0.0, moves[0][1], current)]
    for (began, _, number), (_, ended, _) in zip(moves, [*moves[1:], (0, float("inf"), "")], strict=True):
        periods.append((began, ended, number))
    for began, ended, version in load.answers:
        allowed = {number for start, stop, number in periods if start <= ended and stop >= began - LAG}
        assert version in allowed
    in_order = sorted(load.answers)
    changes = sum(one[2] != other[2] for one, other in pairwise(in_order))
    assert changes >= 20


def test_canary_and_shadow(service: Any) -> None:
    """The canary gets its share, the shadow is compared, and both end when the registry says so."""
    service.registry.set_alias("small", "champion", 1)
    service.registry.set_canary("small", 2, 50)
    service.registry.set_shadow("small", 3)
    with client_of(service) as client:

        def answered() -> set[str]:
            return {
                client.post("/v2/models/small/infer", content=question()).json()["model_version"] for _ in range(30)
            }

        assert until(lambda: answered() == {"1", "2"}, 15)
        counted = 'entrepot_shadow_rows_total{model="small",shadow="3"'
        assert until(lambda: bool(answered()) and counted in client.get("/metrics").text, 15)
        service.registry.clear_canary("small")
        service.registry.clear_shadow("small")
        assert until(lambda: answered() == {"1"}, 15)


def test_unsound_version_is_refused(service: Any) -> None:
    """A version whose files are not what was registered is refused and counted; the old one goes on."""
    registry = service.registry
    registry.set_alias("small", "champion", 1)
    bundle = Path(registry.fetch("small", 4, Path(service.log_dir).parent / "copy"))
    made = registry.register(bundle, "small", registry.version("small", 1).score)
    found = registry._client.get_model_version("small", str(made.version))
    graph = Path(found.source.removeprefix("file://")) / "policy.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    registry.set_alias("small", "champion", made.version)
    wanted = 'entrepot_reloads_total{model="small",outcome="refused"} 1.0'
    with client_of(service) as client:
        assert until(lambda: wanted in client.get("/metrics").text, 15)
        for _ in range(10):
            assert client.post("/v2/models/small/infer", content=question()).json()["model_version"] == "1"
    registry.rollback("small")


def test_killed_replica(service: Any) -> None:
    """A replica killed under load costs no more than what was in flight on it; within 10 s all is well, later whole."""
    threads = 4
    with Load(service, threads) as load:
        time.sleep(1.0)
        before = {process.pid for process in service.replicas()}
        assert len(before) == 2
        killed = time.monotonic()
        os.kill(min(before), signal.SIGKILL)
        assert until(lambda: len(service.replicas()) == 2 and min(before) not in _pids(service), 60)
        time.sleep(2.0)
    assert len(load.failures) <= threads, load.failures
    assert [failure for failure in load.failures if failure[0] > killed + 10] == []
    assert [answer for answer in load.answers if answer[0] > killed]


def _pids(service: Any) -> set[int]:
    return {process.pid for process in service.replicas()}


def test_killed_control(service: Any) -> None:
    """Without the control process requests go on; Serve starts it anew, and it learns of changes again."""
    control = [
        process
        for process in service.process.children(recursive=True)
        if "ServeReplica:entrepot:Control" in " ".join(process.cmdline())
    ]
    assert len(control) == 1
    service.registry.set_alias("small", "champion", 1)
    with Load(service, 2) as load:
        control[0].kill()
        time.sleep(1.0)
        service.registry.set_alias("small", "champion", 2)
        assert until(lambda: load.answers[-1][2] == "2", 60)
    assert load.failures == []
    service.registry.set_alias("small", "champion", 1)


def test_access_log_has_every_request(service: Any) -> None:
    """A request is found in the log by its id, with its key, model and version."""
    with client_of(service) as client:
        client.post("/v2/models/small/infer", content=question(3), headers={"x-request-id": "to-be-found"})

    def found() -> list[dict[str, Any]]:
        lines = (service.log_dir / "access.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["request_id"] == "to-be-found"]

    assert until(lambda: bool(found()), 10)
    (entry,) = found()
    assert (entry["key"], entry["model"], entry["rows"], entry["status"]) == ("tests", "small", 3, 200)


PARTS = {
    "HAProxy": "/haproxy.cfg",
    "its manager": "ray::HAProxyManager",
    "a replica": "ray::ServeReplica:entrepot:PolicyServer",
    "the control process": "ray::ServeReplica:entrepot:Control",
    "Serve's controller": "ray::ServeController",
}
"""Parts of the service that may be killed, and what their commands have in them; HAProxy first, alone and with all."""


def parts(service: Any, name: str) -> list[psutil.Process]:
    found = []
    for process in service.process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if PARTS[name] in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.slow
def test_parts_killed_one_after_the_other(service: Any) -> None:
    """Whatever is killed under load, requests are answered again within 10 s, and refused ones may be tried again."""
    with Load(service, 2) as load:
        for name in PARTS:
            assert until(lambda: all(parts(service, each) for each in PARTS) and len(service.replicas()) == 2, 60), name
            before = len(load.answers)
            assert until(lambda before=before: len(load.answers) > before, 10)
            victim = max(parts(service, name), key=psutil.Process.create_time)
            victim.kill()
            killed = time.monotonic()

            def answered(killed: float = killed) -> bool:
                """Whether three seconds passed in which nothing was refused, the last of them after late effects."""
                refused = max((began for began, _ in load.failures), default=0.0)
                return any(began > max(refused, killed) + 3 for began, *_ in load.answers[-50:])

            assert until(answered, 60), name
            assert [failure for failure in load.failures if failure[0] > killed + 10] == [], name
    assert not [text for _, text in load.failures if text[:3].isdigit() and text[:3] not in ("502", "503")]


@pytest.mark.slow
def test_killed_raylet_ends_the_service(service: Any) -> None:
    """Without the raylet there is no service: it says so, ends by itself with a code, and leaves no process behind."""
    family = service.process.children(recursive=True)
    with Load(service, 2) as load:
        assert until(lambda: load.answers, 10)
        next(each for each in family if each.name() == "raylet").kill()
        assert service.process.wait(10) == 1
    last = (service.log_dir.parent / "output.txt").read_text().splitlines()[-1]
    assert last.startswith("entrepot: raylet, a process of Ray's own, has ended, and so does the service")
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_beyond_loopback_needs_keys(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Without keys the service refuses to listen where others could reach it."""
    bundle = str(make_bundle(tmp_path / "bundle"))
    for host in ("0.0.0.0", "::", "192.0.2.7"):
        with pytest.raises(LaunchError, match=r"^host: got .* without keys, allowed is loopback"):
            check(ServeSettings(models=(bundle,), host=host, port=free()))
    KeysFile(tmp_path / "keys.json").add("one")
    check(ServeSettings(models=(bundle,), host="0.0.0.0", port=free(), keys_file=tmp_path / "keys.json"))
    check(ServeSettings(models=(bundle,), port=free()))


def test_taken_port_is_named(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """A port that is taken is one line, before Ray starts."""
    bundle = str(make_bundle(tmp_path / "bundle"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"^port: cannot listen on 127\.0\.0\.1:{port}"):
            check(ServeSettings(models=(bundle,), port=port))


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
