"""Where MLflow keeps its records, and whether that is a place for this run."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from rllib_configs.errors import ConfigError, one_line
from rllib_configs.schema import ExperimentConfig

logger = logging.getLogger("entrepot")

SQLITE = "sqlite:///"
PATIENCE = 10.0
"""Seconds in which a server must answer before anything is started."""


def absolute_uri(uri: str) -> str:
    """Makes the path in a SQLite URI absolute: trials run in folders of their own.

    Args:
        uri: Such as `sqlite:///mlflow.db` (relative), `sqlite:////data/mlflow.db` (absolute) or a server's URL.
    """
    file = sqlite_file(uri)
    return uri if file is None else f"{SQLITE}{file.expanduser().absolute()}"


def artifact_root(uri: str) -> Path | None:
    """Where artifacts go: beside the SQLite file; None for a server, which has a place of its own."""
    file = sqlite_file(uri)
    return None if file is None else file.absolute().parent / "mlartifacts"


def mlflow_experiment(client: Any, name: str, uri: str) -> str:
    """Id of the MLflow experiment of that name, which is made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    root = artifact_root(uri)
    return str(client.create_experiment(name, artifact_location=None if root is None else (root / name).as_uri()))


def check_server(uri: str) -> None:
    """Refuses a server that does not answer; whatever it answers is for MLflow to make sense of.

    Raises:
        ConfigError: If nothing answers there.
    """
    if not uri.startswith(("http://", "https://")):
        return
    import httpx  # takes a while to import

    try:
        server = httpx.URL(uri).copy_with(userinfo=b"")
        httpx.get(server.join("health"), timeout=PATIENCE, verify=False)  # no secret is sent; MLflow does the verifying
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(
            f"tracking.uri: got {shown(uri)!r}, no server answers there ({one_line(error)}); allowed is the URL of an "
            "MLflow server, a SQLite file, or tracking.enabled=false"
        ) from error


def shown(uri: str) -> str:
    """A URI as others may read it: without a password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:…@", uri)


def warn_of_lonely_file(config: ExperimentConfig) -> None:
    """Says that records in a SQLite file lie on this node only, unless the file is beside results that are shared."""
    file = sqlite_file(config.tracking.uri)
    if not config.tracking.enabled or file is None:
        return
    if config.resources.storage is None and file.is_relative_to(config.resources.results):
        return
    logger.warning(
        "tracking.uri: %s is a file of this node, and is lost with it unless it lies on shared storage; on a cluster, "
        "name an MLflow server",
        file,
    )


def sqlite_file(uri: str) -> Path | None:
    """The SQLite file that a URI names, None if it names something else."""
    if not uri.startswith(SQLITE) or uri == "sqlite:///:memory:":
        return None
    return Path(uri.removeprefix(SQLITE))
