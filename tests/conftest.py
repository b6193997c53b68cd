"""What all tests share: one thread a process, one local Ray for those that need it, and Prometheus."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import json
import math
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml
from filelock import FileLock
from hypothesis import settings

from serve.ports import free_ports

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")

MONITORING = Path(__file__).parents[1] / "cluster" / "monitoring"


SLOW = {"service", "browser", "prometheus", "tracking"}
"""Fixtures that start so much that whoever asks for one is slow; see the marker `slow` in `pyproject.toml`."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what is slow; and where several processes share the tests, files that need Ray go first.

    They take longest, so that nobody waits for them in the end. Files stay whole, and are dealt out in the order of
    their first test.
    """
    needs = {item: set(getattr(item, "fixturenames", ())) for item in items}
    for item in items:
        if needs[item] & SLOW:
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if "ray_local" in needs[item]}
        items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    """Every test begins with the same random numbers, whatever ran before it in its process."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  RLlib draws from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> FileLock:
    """Held while something starts that takes all cores for some seconds, and does not wait for ever for its parts."""
    folder = tmp_path_factory.getbasetemp()
    return FileLock((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "starting.lock")


@pytest.fixture(scope="session")
def ray_local(one_at_a_time: FileLock) -> Iterator[None]:
    """One local Ray for the whole process, without a dashboard, ended with it."""
    import ray

    with one_at_a_time:
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Puts an empty store of MLflow into a folder; gives its URI. Its migrations take seconds: they are run once."""
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"

    def put(folder: Path) -> str:
        if not empty.exists():
            from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

            engine = create_sqlalchemy_engine(f"sqlite:///{empty}")
            _initialize_tables(engine)
            engine.dispose()
        shutil.copy(empty, folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return put


@pytest.fixture(scope="session")
def end_program() -> Callable[..., None]:
    """Asks a program to end, and sees to it that it does, and that nothing it started is left."""

    def end(program: subprocess.Popen[Any], *, number: int = signal.SIGTERM, patience: float = 60) -> None:
        family = psutil.Process(program.pid).children(recursive=True) if program.poll() is None else []
        program.send_signal(number)
        try:
            program.wait(patience)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        for left in psutil.wait_procs(family, timeout=10)[1]:
            left.kill()

    return end


class Prometheus:
    """Prometheus on a copy of `cluster/monitoring`, in more of a hurry: it scrapes and judges every second.

    Args:
        folder: Where the copy and its data lie.
        targets: File of the targets by job, in place of the one in the configuration.
        key: What is in `targets/serving.key`.
    """

    def __init__(self, folder: Path, targets: Mapping[str, Path], key: str = "none") -> None:
        copy = shutil.copytree(MONITORING, folder / "monitoring", ignore=shutil.ignore_patterns("targets"))
        (copy / "targets").mkdir()
        (copy / "targets" / "serving.key").write_text(f"{key}\n")
        config = yaml.safe_load((copy / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in config["scrape_configs"]:
            if job["job_name"] in targets:
                (files,) = job["file_sd_configs"]
                files.update(files=[str(targets[job["job_name"]])], refresh_interval="1s")
        (copy / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_ports(1)[0]}"
        command = ["prometheus", f"--config.file={copy}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "prometheus.log").open("w") as log:
            self.process = subprocess.Popen(
                [*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT
            )
        self._client = httpx.Client(base_url=f"http://{address}", timeout=10)
        self._log = folder / "prometheus.log"

    def get(self, path: str, **parameters: Any) -> Any:
        """What its API answers; it is waited for until it is up."""
        end = time.monotonic() + 30
        while True:
            try:
                answer = self._client.get(f"/api/v1/{path}", params=parameters)
                if answer.status_code != 503:
                    assert answer.status_code == 200, answer.text
                    return answer.json()["data"]
            except httpx.TransportError:
                assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.2)

    def ask(self, query: str) -> list[float]:
        """Values of a query now, those that are numbers."""
        values = [float(series["value"][1]) for series in self.get("query", query=query)["result"]]
        return [value for value in values if not math.isnan(value)]

    def queries(self, dashboard: str) -> list[str]:
        """All queries of a dashboard, with its variables as Grafana would fill them in: all values chosen."""
        board = json.loads((MONITORING / "grafana" / f"{dashboard}.json").read_text())
        values = {"$__rate_interval": "15s"}

        def filled(text: str) -> str:
            for name, value in values.items():
                text = text.replace(name, value)
            return text

        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert found, variable["query"]
                chosen = self.get(f"label/{found[2]}/values", **{"match[]": filled(found[1])})
                values[f"${variable['name']}"] = "|".join(map(re.escape, chosen)).replace("\\", "\\\\")
        return [filled(target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]

    def without_data(self, dashboard: str, seconds: float) -> list[str]:
        """Queries of a dashboard that never gave a number within some time."""
        end = time.monotonic() + seconds
        answered: set[str] = set()
        while True:
            missing = [query for query in self.queries(dashboard) if query not in answered]
            answered |= {query for query in missing if self.ask(query)}
            left = [query for query in missing if query not in answered]
            if not left or time.monotonic() > end:
                return left
            time.sleep(1)

    def broken_rules(self) -> list[str]:
        """What went wrong with alerts; every one has been looked at once."""
        end = time.monotonic() + 30
        while True:
            rules = [rule for group in self.get("rules")["groups"] for rule in group["rules"]]
            if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > end:
                return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
            time.sleep(0.5)

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}

    def stop(self) -> None:
        """Ends it."""
        self._client.close()
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Prometheus]]:
    """Starts Prometheus with other targets, and a key, until the module's tests are over; see `Prometheus`."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed; `make test-tools` does that")
    started: list[Prometheus] = []

    def start(targets: Mapping[str, Path], key: str = "none") -> Prometheus:
        started.append(Prometheus(tmp_path_factory.mktemp("prometheus"), targets, key))
        return started[-1]

    yield start
    for each in started:
        each.stop()
