"""The part of the faults benchmark that runs in the laboratory: prints one JSON line a run.

python -m benchmarks.faults_worker ROUNDS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cluster.testbed.cluster_file import write_cluster_file
from cluster.testbed.faults import FAULTS
from cluster.testbed.lab import SHARED, machines
from cluster.testbed.trial import entrepot, run
from curriculum.config import load_curriculum

STAGE = "multi_asset"
EXPERIMENT: dict[str, Any] = {
    "extends": "trading_ppo",
    "curriculum": None,
    "runners": {"num_env_runners": 2, "worlds": 32},
    "stop": {"iterations": 60, "minutes": None},
    "checkpoint": {"interval": 5},
    "tracking": {"enabled": False},
}


def write_experiment(folder: Path) -> Path:
    """Writes the experiment, and the suite it ends with, into a folder; returns the experiment's file."""
    stages = load_curriculum("trading").stages
    task = next(stage.task for stage in stages if stage.name == STAGE).model_dump(mode="json")
    examined = {"name": STAGE, "title": STAGE, "kind": "held_out", "task": task, "episodes": 256}
    suite = {"domain": "trading", "title": "Trading, one stage", "noun": "markets", "scenarios": [examined]}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    evaluation = {"interval": 0, "suite": str(folder / "suite.yaml")}
    experiment = {**EXPERIMENT, "task": task, "evaluation": evaluation}
    (folder / "faults.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    return folder / "faults.yaml"


def main(rounds: int) -> None:
    """Runs all faults, and none, `rounds` times."""
    config = write_experiment(SHARED)
    with machines(3) as nodes:
        cluster = write_cluster_file(Path("/tmp/lab.yaml"), nodes)
        entrepot("cluster", "up", str(cluster))
        for seed in range(rounds):
            for name, inject in {"none": None, **{fault.name: fault.inject for fault in FAULTS}}.items():
                disturb: Callable[[], Any] | None = None if inject is None else lambda do=inject: do(nodes)
                arguments = ["trading", "--config", str(config), "--seed", str(seed)]
                outcome = run(cluster, f"{name}-{seed}", arguments, disturb, after=20, timeout=900)
                print(json.dumps({"fault": name, "seed": seed, **asdict(outcome)}), flush=True)
                for node in nodes:
                    if not node.alive:
                        node.start()
                entrepot("cluster", "join", str(cluster))
        entrepot("cluster", "down", str(cluster))


if __name__ == "__main__":
    main(int(sys.argv[1]))
