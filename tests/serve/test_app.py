"""The application for somebody else's Serve: KubeRay's configuration really deploys it, and it asks for keys."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from filelock import FileLock

from serve.app import build
from serve.keys import KeysError, KeysFile
from serve.launch import LaunchError
from serve.ports import free_ports

ROOT = Path(__file__).parents[2]

DEPLOY = """
import signal, sys, threading
import ray, yaml
from ray.serve._private.api import serve_start
from ray.serve.config import HTTPOptions
from ray.serve.schema import ServeDeploySchema

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
config = ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[1])))
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
options = HTTPOptions.model_validate({**config.http_options.model_dump(), "location": config.proxy_location})
client = serve_start(http_options=options, global_logging_config=config.logging_config)
client.deploy_apps(config, _blocking=True)
print("deployed", flush=True)
stop.wait()
from ray import serve
serve.shutdown()
ray.shutdown()
"""
"""What the operator has Ray's dashboard do with a RayService's `serveConfigV2`, as `serve run` does it."""


@pytest.mark.slow
def test_the_manifest_serves_a_policy(
    make_bundle: Callable[..., Path], tmp_path: Path, one_at_a_time: FileLock, end_program: Callable[..., None]
) -> None:
    """`rayservice.yaml`, with its models, keys and ports replaced, deploys a service that answers who has a key."""
    service, environment = list(yaml.safe_load_all((ROOT / "cluster/kuberay/rayservice.yaml").read_text()))
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    key = KeysFile(tmp_path / "keys.json").add("tests", scopes=("infer", "read"))
    port, stats, metrics = free_ports(3)
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    config["applications"][0]["args"] |= {
        "models": [str(make_bundle(tmp_path / "bundle"))],
        "keys_file": str(tmp_path / "keys.json"),
        "replicas": 1,  # there is one node, and each wants its own
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    sockets = Path(tempfile.mkdtemp(prefix="haproxy-"))  # their names may not be long
    pod = environment["data"] | {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        **{
            f"RAY_SERVE_HAPROXY_{name}": str(sockets / name.lower())
            for name in ("CONFIG_FILE_LOC", "SOCKET_PATH", "METRICS_SOCKET_PATH", "SERVER_STATE_FILE")
        },
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(sockets),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": str(ROOT),
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        with one_at_a_time:
            output = stack.enter_context((tmp_path / "output.txt").open("w"))
            started = subprocess.Popen(
                [sys.executable, "-c", DEPLOY, str(tmp_path / "config.yaml")],
                cwd=ROOT,
                env={**os.environ, **pod},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            stack.callback(end_program, started)
            end = time.monotonic() + 180
            while "deployed" not in (tmp_path / "output.txt").read_text():
                assert started.poll() is None, (tmp_path / "output.txt").read_text()
                assert time.monotonic() < end, "the service did not come up"
                time.sleep(0.2)
        inputs = [{"name": "observations", "datatype": "FP32", "shape": [1, 11], "data": [0.5] * 11}]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
            assert ready(client)
            asked = client.post("/v2/models/small/infer", content=json.dumps({"inputs": inputs}))
            assert asked.status_code == 401
            answer = client.post(
                "/v2/models/small/infer", content=json.dumps({"inputs": inputs}), headers={"x-api-key": key}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["model_name"] == "small"
            assert client.get("/-/healthz").text == "success"  # what the operator's readiness probe asks each pod


def ready(client: httpx.Client) -> bool:
    """Whether HAProxy hears of the replica, which takes it a moment."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if client.get("/v2/health/ready").status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, r"^keys_file: got none, required is a file of keys"),
        ({"keys_file": "keys.json", "host": "0.0.0.0"}, r"^host: got '0\.0\.0\.0', allowed is .* http_options$"),
        ({"keys_file": "keys.json", "model": ["x"]}, r"^model: got \['x'\], allowed"),
        ({"keys_file": "keys.json", "replicas": 0}, r"^replicas: got 0, allowed"),
    ],
)
def test_settings_are_checked(args: dict[str, Any], message: str) -> None:
    """A service without keys, or with settings that it does not have, is refused in one line."""
    with pytest.raises(LaunchError, match=message):
        build(args)


def test_keys_must_be_readable(tmp_path: Path) -> None:
    """Keys that are not there are missed before anything is deployed."""
    with pytest.raises(KeysError):
        build({"keys_file": str(tmp_path / "keys.json")})
