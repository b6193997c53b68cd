"""Starts the service on this machine: a Ray of its own, Serve with HAProxy in front, the replicas; and ends it again.

What Serve and HAProxy read is set before Ray starts, for Ray's processes inherit it. Everything that two services on a
machine could fall out about (ports, sockets, files) is each one's own.
"""

from __future__ import annotations

import atexit
import http.client
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve import front
from serve.catalog import Catalog
from serve.ports import free_ports
from serve.scratch import own_folder
from serve.settings import ServeSettings
from serve.watch import Watch, adopt, kill_family

APP = "entrepot"
ROOT = Path(__file__).resolve().parents[1]
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set in what `ray job submit` runs, whose workers have our packages already."""

LOOK_SECONDS = 0.2
"""How often HAProxy and Ray are looked after [s]."""


class LaunchError(ValueError):
    """The service cannot be started as it is set; the message is one line."""


@dataclass(frozen=True)
class Running:
    """A service that runs.

    Attributes:
        url: Where it answers.
        stats_port: Port of HAProxy's statistics, on loopback.
        metrics_port: Port of HAProxy's own metrics, on loopback.
        folder: Ray's logs, those of the replicas in `serve/`.
    """

    url: str
    stats_port: int
    metrics_port: int
    folder: Path


def check(settings: ServeSettings) -> None:
    """Says what is wrong before anything is started.

    Raises:
        LaunchError: If whoever reaches the port could ask without a key, or the port is taken.
        serve.keys.KeysError: If the keys cannot be read.
        serve.references.CatalogError: If a model cannot be served.
        policies.registry.RegistryError: If the registry does not answer.
        policies.bundle.BundleError: If a bundle is not sound.
    """
    if settings.keys_file is None and not _loopback(settings.host):
        raise LaunchError(
            f"host: got {settings.host!r} without keys, allowed is loopback (127.0.0.1), or --keys FILE made by "
            "`entrepot keys add`"
        )
    if settings.keys_file is not None:
        from serve.keys import KeysFile

        KeysFile(settings.keys_file).read()
    try:
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        raise LaunchError(
            f"port: cannot listen on {settings.host}:{settings.port} ({error.strerror or error}); choose another"
        ) from error
    Catalog(settings).start()


def serve(settings: ServeSettings, ready: Callable[[Running], None]) -> None:
    """Runs the service until it is interrupted or terminated, and ends all that it started.

    Args:
        settings: The service's settings; `check` has nothing against them.
        ready: Called once requests are answered.

    Raises:
        LaunchError: If the service does not come up.
        serve.watch.EndedError: If it cannot go on.
    """
    stop = threading.Event()
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    adopt()
    with own_folder() as folder:
        watch: Watch | None = None
        try:
            ports = free_ports(3)
            os.environ.update(_environment(settings, folder, ports))
            running = _start(settings, ports)
            watch = Watch(folder)
            if not stop.is_set():
                ready(running)
            while not stop.wait(LOOK_SECONDS):
                watch.look()
        finally:
            for number in former:
                signal.signal(number, signal.SIG_IGN)  # once more Ctrl-C must not leave processes behind
            if watch is None or watch.ray_lives():
                _stop()
            else:  # Ray would wait for its own processes at the end of this one, in vain
                atexit.register(_end_at_once)
            kill_family()
            for number, handler in former.items():
                signal.signal(number, handler)


def _start(settings: ServeSettings, ports: Sequence[int]) -> Running:
    """Starts Ray, Serve and the application."""
    import ray
    from ray import serve as ray_serve
    from ray.serve.config import HTTPOptions, ProxyLocation
    from ray.serve.schema import LoggingConfig

    from serve.control import CONTROL
    from serve.deployment import POLICY_SERVER

    context = ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, settings.replicas),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env=_runtime_env(),
    )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # of this process; the replicas' logs are complete
    quiet = LoggingConfig(enable_access_log=False, log_level="INFO")
    ray_serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host="127.0.0.1", port=settings.port, keep_alive_timeout_s=75),  # see serve.front
        logging_config=quiet,
    )
    application = POLICY_SERVER.options(num_replicas=settings.replicas).bind(settings, CONTROL.bind(settings))
    try:
        ray_serve.run(application, name=APP, route_prefix="/", logging_config=quiet)
    except RuntimeError as error:
        raise LaunchError(f"the service does not come up: {' '.join(str(error).split())[:500]}") from error
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    _wait_until_answering(settings)
    logs = Path(context.address_info["session_dir"]) / "logs"
    return Running(f"http://{host}:{settings.port}", ports[0], ports[1], logs)


def _stop() -> None:
    """Ends the application, Serve and Ray, as far as they run."""
    import ray

    if not ray.is_initialized():
        return
    from ray import serve as ray_serve

    try:
        ray_serve.shutdown()
    except Exception:  # whatever it is, Ray ends next
        logging.getLogger(__name__).warning("Serve did not end by itself", exc_info=True)
    ray.shutdown()


def _end_at_once() -> None:
    """Ends this process, whatever else was to be done at its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _wait_until_answering(settings: ServeSettings, seconds: float = 30.0) -> None:
    """Waits for HAProxy, which learns of the replicas a moment after they are ready.

    Raises:
        LaunchError: If the service does not answer in time.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(host, settings.port, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise LaunchError(f"the service does not answer on {settings.host}:{settings.port} after {seconds:g} s")


def _environment(settings: ServeSettings, folder: Path, ports: Sequence[int]) -> dict[str, str]:
    """What Serve and HAProxy read."""
    names = front.environment(settings, folder, ports) | {
        # One hop: HAProxy to the replicas, which answer in their own process, on the event loop of their HTTP server.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.middleware:middlewares",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Ray's own ports run whatever they are sent: they are on loopback, as without this they are where Ray is no
        # cluster (macOS, Windows) only, and only who has the token may speak.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
    }
    return names | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def _runtime_env() -> dict[str, Any]:
    """Lets workers import this repository's packages, and not others of the same name in the folder of the start."""
    if JOB_VARIABLE in os.environ or not (ROOT / "pyproject.toml").is_file():
        return {}
    return {"working_dir": str(ROOT)}


def _loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
