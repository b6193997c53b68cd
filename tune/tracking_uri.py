"""Where MLflow keeps its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def absolute_uri(uri: str) -> str:
    """Makes the path in a SQLite URI absolute: trials run in folders of their own.

    Args:
        uri: Such as `sqlite:///mlflow.db` (relative), `sqlite:////data/mlflow.db` (absolute) or a server's URL.
    """
    prefix = "sqlite:///"
    if not uri.startswith(prefix) or uri == "sqlite:///:memory:":
        return uri
    return f"{prefix}{Path(uri.removeprefix(prefix)).expanduser().absolute()}"


def artifact_root(uri: str) -> Path | None:
    """Where artifacts go: beside the SQLite file; None for a server, which has a place of its own."""
    prefix = "sqlite:///"
    if not uri.startswith(prefix) or uri == "sqlite:///:memory:":
        return None
    return Path(uri.removeprefix(prefix)).absolute().parent / "mlartifacts"


def mlflow_experiment(client: Any, name: str, uri: str) -> str:
    """Id of the MLflow experiment of that name, which is made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    root = artifact_root(uri)
    return str(client.create_experiment(name, artifact_location=None if root is None else (root / name).as_uri()))
