"""The dashboard of the service while it answers: Prometheus scrapes the service and HAProxy as a user's would."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

BODY = {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [1, 11], "data": [0.5] * 11}]}


@contextmanager
def asking(service: Any) -> Iterator[None]:
    """Asks the service all the time for what there is, and now and then for what there is not."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=service.url, headers={"x-api-key": service.key}, timeout=30) as client:
            while not over.wait(0.1):
                assert client.post("/v2/models/small/infer", json=BODY).status_code == 200
                assert client.post("/v2/models/none/infer", json=BODY).status_code == 404

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def haproxy_of(service: Any) -> str:
    """Where HAProxy shows its figures, as `entrepot serve` prints it."""
    found = re.search(r"HAProxy .*http://([\d.:]+)/metrics", (service.log_dir.parent / "output.txt").read_text())
    assert found
    return found[1]


def test_the_serving_dashboard_is_full_of_data(service: Any, prometheus: Callable[..., Any], tmp_path: Path) -> None:
    """Every query of the dashboard has an answer, no alert fires, and all figures that alerts look at are there."""
    files = {}
    for job, address in (("entrepot-serving", f"127.0.0.1:{service.port}"), ("haproxy", haproxy_of(service))):
        files[job] = tmp_path / f"{job}.json"
        files[job].write_text(json.dumps([{"targets": [address]}]))
    with asking(service):
        server = prometheus(files, service.key)
        assert server.without_data("serving", 90) == []
        assert server.broken_rules() == []
        assert not server.firing()
        known = set(server.get("metadata")) | {f"{name}_bucket" for name in server.get("metadata")}
        rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
        named = {name for rule in rules for name in re.findall(r"\b(?:entrepot|haproxy)_[a-z_]+", rule["query"])}
        assert named
        assert named - known == set()
