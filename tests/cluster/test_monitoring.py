"""Dashboards, alerts and the configuration of Prometheus: sound in themselves, and full of data while a team learns."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from serve import figures as serving
from serve.ports import free_ports
from tune import metrics as training

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "cluster" / "monitoring"
DASHBOARDS = ("training", "serving")
NAME = re.compile(r"\b(?:ray|entrepot|haproxy|autoscaler)_[a-z_0-9]+")
SUFFIXES = ("_bucket", "_count", "_sum")


def dashboard(name: str) -> dict[str, Any]:
    """A dashboard."""
    return json.loads((MONITORING / "grafana" / f"{name}.json").read_text())


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels, without the titles of rows."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def queries(name: str) -> list[str]:
    """Its queries, variables and all."""
    return [target["expr"] for panel in panels(name) for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    """All alerts."""
    return [
        rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]


def own_names() -> set[str]:
    """Names under which Prometheus knows the figures of training and of the service."""
    prefix = f"ray_{training.PREFIX}"
    names = {f"{prefix}{name}" for name in training.GAUGES} | {f"{prefix}{name}_total" for name in training.COUNTERS}
    names |= {f"{name}_total" for name in serving.COUNTERS} | set(serving.GAUGES)
    return names | {f"{name}{suffix}" for name in serving.HISTOGRAMS for suffix in SUFFIXES}


def promtool(*arguments: str, folder: Path = MONITORING) -> str:
    """Runs promtool; it must be content."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; `make test-tools` does that")
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- what needs nothing running ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_can_be_read(name: str) -> None:
    """Each has an id of its own, a title of its own, a description, a unit, and queries with a legend."""
    everything = dashboard(name)["panels"]
    ids = [panel["id"] for panel in everything]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in everything]
    assert len(titles) == len(set(titles))
    for panel in panels(name):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)), panel["title"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"]), panel["title"]
        assert all(target["legendFormat"] or panel["type"] == "table" for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    """Places on the grid of 24 columns are taken once."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_are_declared_and_used(name: str) -> None:
    """Queries use the variables that there are, and no others."""
    declared = {variable["name"] for variable in dashboard(name)["templating"]["list"]}
    used = {found for query in queries(name) for found in re.findall(r"\$\{?(\w+)", query)} - {"__rate_interval"}
    assert used | {"datasource"} == declared


def test_all_our_figures_are_shown() -> None:
    """What we export is on a dashboard, and what is on a dashboard or in an alert of ours is exported."""
    everything = [query for name in DASHBOARDS for query in queries(name)] + [alert["expr"] for alert in alerts()]
    named = {name for query in everything for name in NAME.findall(query)}
    ours = {name for name in named if name.startswith(("entrepot_", f"ray_{training.PREFIX}"))}
    assert ours <= own_names()
    shown = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in ours}
    whole = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in own_names()}
    assert whole - shown == set()


def test_every_alert_says_what_to_do() -> None:
    """A severity, a line that names whom it is about, a text, and a test in which it fires and one in which not."""
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    checked = [case for test in tests for case in test["promql_expr_test"]]
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), alert["alert"]
        assert "{{ $labels." in alert["annotations"]["summary"], alert["alert"]
        assert alert["annotations"]["description"].endswith("."), alert["alert"]
        mine = [case for case in checked if f'"{alert["alert"]}"' in case["expr"]]
        assert any(case.get("exp_samples") for case in mine), alert["alert"]


def test_alerts_fire_when_they_should() -> None:
    """Series made up for each alert, by Prometheus' own tool."""
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """Configuration and rules are sound once there is a key for the service, as the README says."""
    copy = shutil.copytree(MONITORING, tmp_path / "monitoring", ignore=shutil.ignore_patterns("targets"))
    (copy / "targets").mkdir()
    (copy / "targets" / "serving.key").write_text("key\n")
    assert "is valid prometheus config" in promtool("check", "config", "prometheus.yml", folder=copy)
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")


def test_grafana_finds_its_files() -> None:
    """The provisioned folder, seen from the variable that Grafana is started with, holds both dashboards."""
    provisioning = MONITORING / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "entrepot.yml").read_text())["providers"]
    folder = Path(provider["options"]["path"].replace("$GF_PATHS_PROVISIONING", str(provisioning)))
    assert {file.stem for file in folder.resolve().glob("*.json")} == set(DASHBOARDS)
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"


# -- a real training run -----------------------------------------------------------------------------------------------

TRAINING = """
import sys
from tune.launch import hush
hush()
import ray
from rllib_configs.overrides import load
from tune.experiment import train
ray.init(
    address="local", num_cpus=3, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=int(sys.argv[1]),
    log_to_driver=False, logging_level="ERROR", _temp_dir=sys.argv[2], runtime_env={"working_dir": sys.argv[3]},
)
train(load("cue", overrides=sys.argv[4:]), name="watched")
"""
"""A run on a Ray that is a cluster's in all that counts here: the head writes where its nodes can be scraped."""

CURRICULUM = """
domain: cue
window: 64
stages:
  - {name: easy, title: Easy, task: {entities: 1, max_steps: 5}, promote_at: 0.999, min_episodes: 16}
  - {name: hard, title: Hard, task: {entities: 2, max_steps: 5}, promote_at: 0.999, min_episodes: 64}
"""


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, one_at_a_time: FileLock, end_program: Callable[..., None]
) -> Iterator[Path]:
    """Trains until the module's tests are over; gives the file that says where to scrape."""
    results = tmp_path_factory.mktemp("watched")
    (results / "curriculum.yaml").write_text(CURRICULUM)
    settings = [
        f"resources.results={results}",
        "tracking.enabled=false",
        "stop.iterations=100000",
        "stop.curriculum_done=false",
    ]
    settings += [f"curriculum={results}/curriculum.yaml", "task=null", "runners.num_env_runners=1"]
    settings += ["ppo.kl_weight=0.2", "checkpoint.interval=20", "evaluation={interval: 5, episodes: 16}"]
    dashboard_port, head, autoscaler = free_ports(3)
    environment = {**os.environ, "RAY_ADDRESS": "", "RAY_metrics_report_interval_ms": "1000", "OMP_NUM_THREADS": "1"}
    environment |= {"DASHBOARD_METRIC_PORT": str(head), "AUTOSCALER_METRIC_PORT": str(autoscaler)}
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # the paths of its sockets must be short
    command = [sys.executable, "-c", TRAINING, str(dashboard_port), str(folder), str(ROOT), *settings]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        with one_at_a_time:
            output = stack.enter_context((results / "output.txt").open("w"))
            started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(end_program, started)
            end = time.monotonic() + 300
            while not list(results.glob("watched/history.jsonl")):
                assert started.poll() is None, (results / "output.txt").read_text()
                assert time.monotonic() < end, "training did not begin"
                time.sleep(0.2)
        yield folder / "prom_metrics_service_discovery.json"


def test_the_training_dashboard_is_full_of_data(watched: Path, prometheus: Callable[..., Any]) -> None:
    """Every query of the dashboard has an answer while a team learns, and so has every figure that alerts look at."""
    server = prometheus({"ray": watched})
    assert server.without_data("training", 90) == []
    assert server.broken_rules() == []
    there = set(server.get("label/__name__/values"))
    watched_by_alerts = {name for alert in alerts() for name in NAME.findall(alert["expr"]) if name.startswith("ray_")}
    assert watched_by_alerts - there == set()
    assert not {name for name in server.firing() if name.startswith("Training")}
    labels = [server.get(f"label/{label}/values") for label in ("experiment", "stage", "module")]
    assert labels == [["watched"], ["easy"], ["shared"]]
    assert server.ask("ray_entrepot_training_on_stage == 1") == [1.0]
    (counted,) = server.ask("ray_entrepot_training_agent_steps_total")
    (iterations,) = server.ask("ray_entrepot_training_iteration")
    assert counted == pytest.approx(32 * 20 * 2 * iterations, rel=0.2)
