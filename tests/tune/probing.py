"""A driver on a cluster: tells, as JSON, what becomes of runs whose nodes do or do not share where results lie.

Its arguments are the folder of results and the URI of storage.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import ray

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from rllib_configs.schema import ExperimentConfig
from tune import sharing
from tune.launch import ray_for

folder, uri = sys.argv[1:]
told: dict[str, object] = {}
kept = {"folder": sharing._try_folder, "storage": sharing._try_storage}


def config(storage: str | None = None, **changes: object) -> ExperimentConfig:
    """An experiment with more runners than the cluster has CPUs."""
    values = {"resources.results": folder, "runners.num_env_runners": 8, "resources.storage": storage}
    return load("cue", values={**values, "tracking.uri": "sqlite:////nowhere/mlflow.db", **changes})


def refusal(run: ExperimentConfig) -> str:
    """Why a run is refused; empty if it is not."""
    try:
        sharing.check_nodes(run)
    except ConfigError as error:
        return str(error)
    return ""


def strange(path: str, token: str, node: str) -> str:
    """On the second node the folder is another one."""
    return kept["folder"](f"{path}-elsewhere" if node == second else path, token, node)


def keyless(place: str, node: str) -> str:
    """On the second node there is no such bucket."""
    return kept["storage"](place.replace("bucket", "nobucket") if node == second else place, node)


class Listener(logging.Handler):
    """Keeps what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line."""
        told.setdefault("warnings", []).append(record.getMessage())  # type: ignore[attr-defined]


logging.getLogger("entrepot").addHandler(Listener())
Path(folder).mkdir(exist_ok=True)
with ray_for(config()):
    told["cpus"] = ray.cluster_resources()["CPU"]
    second = sorted(sharing.alive_nodes())[1]
    told["stored"] = refusal(config(uri))
    sharing._try_folder, sharing._try_storage = strange, keyless
    told["not_shared"] = refusal(config())
    told["not_stored"] = refusal(config(uri))
    Path(f"{folder}-elsewhere").mkdir()
    (Path(f"{folder}-elsewhere") / "here").touch()
    told["empty_there"] = refusal(config())
told["left"] = sorted(path.name for place in (folder, f"{folder}-elsewhere") for path in Path(place).iterdir())
print(json.dumps(told))
