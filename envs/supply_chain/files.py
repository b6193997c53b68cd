"""Networks as YAML files, and where the demand lies that they replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.shelf import Shelf
from envs.supply_chain.network import Network, NetworkError
from envs.synthetic.demand_files import fetched

FOLDER = Path(__file__).parent / "networks"


def _locate_records(given: Any, folder: Path) -> None:
    """Makes paths of recorded demand absolute: they lie beside the network's file, or where `make data` puts them."""
    if isinstance(given, list):
        for each in given:
            _locate_records(each, folder)
    if not isinstance(given, dict):
        return
    recorded = given.get("recorded")
    if isinstance(recorded, dict) and isinstance(recorded.get("file"), str):
        file = Path(recorded["file"])
        recorded["file"] = str(folder / file if file.suffix else fetched(file.name))
    for each in given.values():
        _locate_records(each, folder)


NETWORKS = Shelf("network", Network, FOLDER, NetworkError, _locate_records)
network_names, load_network = NETWORKS.names, NETWORKS.load
