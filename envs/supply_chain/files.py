"""Networks as YAML files: those that come with Entrepot, by name, and anybody's own, by path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from envs.supply_chain.network import Network, NetworkError
from envs.synthetic.demand_files import fetched
from envs.yaml_files import FileError, fault_line, read_yaml

FOLDER = Path(__file__).parent / "networks"


def network_names() -> list[str]:
    """Names of the networks that come with Entrepot."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_network(given: str | Path | Network | Mapping[str, Any]) -> Network:
    """A network by its name, from a file, or from plain values.

    Raises:
        NetworkError: If there is none, it cannot be read, or it does not hang together; a line for each fault, with
            file, key and what is allowed.
    """
    if isinstance(given, Network):
        return given
    if isinstance(given, Mapping):
        return _parsed(dict(given), "network")
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{given}.yaml"
        if not path.is_file():
            allowed = ", ".join(network_names())
            raise NetworkError(f"network: got {str(given)!r}, allowed are {allowed}, or the path of a YAML file")
    try:
        data = read_yaml(path)
    except FileError as error:
        raise NetworkError(str(error)) from error
    if not isinstance(data, Mapping):
        raise NetworkError(f"{path}: got {type(data).__name__}, allowed is a mapping with name, products, nodes, lanes")
    _locate_records(data, path.parent)
    return _parsed(dict(data), str(path))


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


def _parsed(data: dict[str, Any], where: str) -> Network:
    try:
        return Network.model_validate(data)
    except ValidationError as error:
        raise NetworkError(
            "\n".join(f"{where}: {fault_line({**each})}" for each in error.errors(include_url=False))
        ) from None
