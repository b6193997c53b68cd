"""A cluster of three machines, from nothing to a trained model and to nothing again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from cluster.testbed.faults import RUNNER, TRIAL
from cluster.testbed.lab import Node
from cluster.testbed.trial import RESULTS, entrepot

QUICK = ["--set", "tracking.enabled=false", "--set", f"resources.results={RESULTS}"]


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.5)


def test_up(cluster: Path, nodes: list[Node]) -> None:
    """All machines are in, the token is everybody's and nobody else's, and only loopback reaches the dashboard."""
    shown = entrepot("cluster", "status", str(cluster))
    for node in nodes:
        assert node.address in shown
        assert node.run("stat -c %a ~/.ray/auth_token").stdout.strip() == "600"
    assert shown.count("alive") == len(nodes)
    listening = nodes[0].run("ss -Hltn 'sport = :8265'").stdout.split()
    assert listening[3] == "127.0.0.1:8265"


def test_any_machine_may_ask(cluster: Path, nodes: list[Node]) -> None:
    """One that did not start the cluster, or has forgotten it with `/tmp`, knows from the file where the head is."""
    notes = {path: path.read_bytes() for path in Path("/tmp/ray").glob("cluster-lab.*")}
    assert notes
    try:
        for path in notes:
            path.unlink()
        assert entrepot("cluster", "status", str(cluster)).count("alive") == len(nodes)
    finally:
        for path, content in notes.items():
            path.write_bytes(content)


def test_submit_trains_on_both_workers(cluster: Path, nodes: list[Node]) -> None:
    """A job's runners are on every worker, arguments with blanks arrive whole, and results are where all see them."""
    job = entrepot(
        "cluster", "submit", str(cluster), "--detach", "--",
        "train", "cue", "--experiment", "spread", *QUICK,
        "--set", "runners.num_env_runners=4", "--set", "tracking.model=a model", "--set", "stop.iterations=20",
    ).strip()  # fmt: skip
    until(lambda: all(node.pids(RUNNER) for node in nodes[1:]), 180)
    assert sum(len(node.pids(TRIAL)) for node in nodes) == 1
    said = entrepot("cluster", "logs", str(cluster), job, "--follow")
    assert (RESULTS / "spread" / "bundle" / "manifest.json").is_file(), said
    config = yaml.safe_load((RESULTS / "spread" / "config.yaml").read_text())
    assert config["tracking"]["model"] == "a model"
    assert "spread" in entrepot("cluster", "logs", str(cluster), job)
    until(lambda: not any(node.pids(RUNNER) for node in nodes), 30)


def test_ray_submit_works_too(cluster: Path) -> None:
    """Ray's own `ray submit`, which puts the script alone in the head's home folder, trains as well."""
    from cluster.description import ClusterFile
    from cluster.programs import ray

    file = ClusterFile.read(cluster)
    said = ray(
        file, "submit", "--no-config-cache", str(cluster), "entrepot.py", "--",
        "train", "cue", "--experiment", "plain", *QUICK, "--set", "stop.iterations=4",
        capture=True, timeout=240,
    )  # fmt: skip
    assert (RESULTS / "plain" / "bundle" / "manifest.json").is_file(), said


def test_results_must_be_shared(cluster: Path) -> None:
    """A folder that the nodes do not share is refused in one line, before anything is trained."""
    with pytest.raises(Exception, match="exit code 2") as caught:
        entrepot(
            "cluster", "submit", str(cluster), "--", "train", "cue", "--experiment", "alone",
            "--set", "tracking.enabled=false", "--set", "resources.results=/tmp/mine",
        )  # fmt: skip
    assert "resources.results: got" in str(caught.value)
    assert "10.77.0." in str(caught.value)


def test_trials_spread(cluster: Path, nodes: list[Node]) -> None:
    """A sweep's trials run on several machines at once."""
    job = entrepot(
        "cluster", "submit", str(cluster), "--detach", "--",
        "sweep", "cue", "--samples", "5", "--experiment", "search", *QUICK[2:], "--set", "tracking.enabled=false",
    ).strip()  # fmt: skip
    until(lambda: sum(bool(node.pids(TRIAL)) for node in nodes) >= 2, 180)
    entrepot("cluster", "logs", str(cluster), job, "--follow")
    ranking = json.loads((RESULTS / "search" / "ranking.json").read_text())
    assert len(ranking) == 5
    assert ranking[0]["score"] > 0.5


def test_runners_join_when_a_node_is_added(cluster: Path, nodes: list[Node]) -> None:
    """Runners for which there is no CPU wait while the others sample; an empty machine that joins gets them."""
    late = nodes[2]
    late.destroy()
    job = entrepot(
        "cluster", "submit", str(cluster), "--detach", "--",
        "train", "cue", "--experiment", "elastic", *QUICK,
        "--set", "runners.num_env_runners=4", "--set", "stop.iterations=100000", "--set", "stop.minutes=20",
    ).strip()  # fmt: skip
    history = RESULTS / "elastic" / "history.jsonl"

    def steps() -> list[float]:
        """Agent-steps of each iteration so far."""
        lines = history.read_text().split("\n")[:-1] if history.exists() else []
        totals = [json.loads(line)["agent_steps"] for line in lines]
        return [after - before for before, after in pairwise(totals)]

    until(lambda: len(steps()) >= 3, 240)
    late.start()
    assert late.address in entrepot("cluster", "join", str(cluster))
    until(lambda: bool(late.pids(RUNNER)), 120)
    until(lambda: steps()[-1] > steps()[0], 60)
    from cluster.connection import connect
    from cluster.jobs import Jobs

    with connect(str(cluster)) as url:
        Jobs(url).stop(job)
    until(lambda: not any(node.pids(TRIAL) for node in nodes), 60)
