"""Whether every node of a cluster sees what a run leaves behind: asked of each node, before anything is trained.

Ray finds out at the first checkpoint of a trial that runs elsewhere, with a trace, and after what led up to it is lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rllib_configs.errors import ConfigError, one_line
from rllib_configs.schema import ExperimentConfig
from tune.files import ready_folder
from tune.storage import LONGEST_CAUSE, Storage, StorageError

PATIENCE = 60.0
"""Seconds in which every node must answer; on its first task a node fetches the code and starts a process."""
LONGEST_LIST = 8
"""Nodes that are named."""
PROBE = ".entrepot-probe-"


def check_nodes(config: ExperimentConfig) -> None:
    """Refuses results that not every alive node sees, or storage that not every one may write to.

    Ray must be there already. What is written to find out is removed again.

    Raises:
        ConfigError: In one line that names the nodes.
        tune.files.FolderError: If results cannot be written here.
    """
    storage = config.resources.storage
    if storage is not None:
        failures = _ask(_try_storage, storage)
        told = "which {nodes} cannot write to ({why}); allowed is storage that every node may write to"
        _refuse("resources.storage", storage, told, failures)
        return
    folder, token = ready_folder(Path(config.resources.results)), secrets.token_hex(16)
    probe = folder / f"{PROBE}{token}"
    try:
        probe.write_text(token)
        failures = _ask(_try_folder, str(folder), token)
    finally:
        for left in folder.glob(f"{PROBE}{token}*"):
            left.unlink(missing_ok=True)
    told = (
        "which {nodes} {verb} not share ({why}); allowed is a folder that every node mounts (NFS), or "
        "resources.storage=s3://bucket/path"
    )
    _refuse("resources.results", config.resources.results, told, failures)


def alive_nodes(*, with_cpus: bool = False) -> dict[str, str]:
    """Address by id of the nodes that are alive; only of those that have CPUs, if so asked."""
    import ray

    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and (not with_cpus or node["Resources"].get("CPU", 0) > 0)
    }


def _ask(task: Callable[..., str], *arguments: str) -> dict[str, str]:
    """Runs `task` once on every node that trials can run on.

    Returns:
        What went wrong, by address of the node; nodes that died meanwhile are left out.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = alive_nodes(with_cpus=True)
    remote = ray.remote(num_cpus=0, max_retries=0)(task)
    asked: dict[Any, str] = {}
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[remote.options(scheduling_strategy=here).remote(*arguments, node)] = node
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
    failures = {}
    for reference in answered:
        try:
            failures[asked[reference]] = ray.get(reference)
        except RayError as error:
            failures[asked[reference]] = one_line(getattr(error, "cause", None) or error)
    for reference in silent:
        ray.cancel(reference, force=True)
        failures[asked[reference]] = f"no answer within {PATIENCE:g} s"
    alive = alive_nodes()
    return {nodes[node]: why[:LONGEST_CAUSE] for node, why in failures.items() if why and node in alive}


def _try_folder(folder: str, token: str, node: str) -> str:
    """On a node: whether the driver's probe can be read there, and a file made beside it; returns what went wrong."""
    probe = Path(folder) / f"{PROBE}{token}"
    try:
        if probe.read_text() != token:
            return "it holds another file of that name"
        mine = probe.with_name(f"{probe.name}-{node}")
        mine.write_text(token)
        mine.unlink()
    except OSError as error:
        return str(error.strerror)
    return ""


def _try_storage(uri: str, node: str) -> str:
    """On a node: whether storage can be written to there; returns what went wrong."""
    try:
        Storage(uri).check()
    except (StorageError, ConfigError) as error:
        return one_line(error.__cause__ or error)
    return ""


def _refuse(key: str, value: str, told: str, failures: dict[str, str]) -> None:
    """Raises ConfigError if there are failures."""
    if failures:
        why = next(iter(failures.values()))
        verb = "does" if len(failures) == 1 else "do"
        raise ConfigError(f"{key}: got {value!r}, {told.format(nodes=_list(failures), verb=verb, why=why)}")


def _list(names: Iterable[str]) -> str:
    """Names, separated by commas; of many only the first."""
    named = sorted(names)
    more = len(named) - LONGEST_LIST
    return ", ".join(named[:LONGEST_LIST]) + (f" and {more} more" if more > 0 else "")
