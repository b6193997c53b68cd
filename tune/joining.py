"""Whether a run joins a cluster or starts a Ray of its own; joining fails in one line, and soon."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from rllib_configs.errors import ConfigError, one_line

VARIABLE = "RAY_ADDRESS"
PATIENCE = 10.0
"""Seconds in which a cluster must answer; Ray itself tries for minutes."""


def announced() -> str | None:
    """Address of the cluster that a run here joins, None if it starts a Ray of its own; Ray is not imported to tell.

    The cluster is the one that `RAY_ADDRESS` names, as in `ray job submit`; else the one that `ray start` wrote down on
    this machine, as for `ray submit`, which runs a driver on the head without that variable.
    """
    given = os.environ.get(VARIABLE, "")
    if given:
        return None if given == "local" else given
    try:
        return address_file().read_text().strip() or None
    except OSError:
        return None


def address_file() -> Path:
    """Where `ray start` writes its address down, for `ray.init` to find.

    Ray documents the file in its default place (`ray.init`, argument `address`); that two variables move it stands in
    `ray._common.utils.get_default_system_temp_dir`.
    """
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"


def initialised() -> bool:
    """Whether Ray is there already in this process."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def start(options: dict[str, Any], cpus: int) -> bool:
    """Joins the cluster there is, or starts a local Ray.

    Args:
        options: For `ray.init`, either way.
        cpus: CPUs of a local Ray.

    Returns:
        Whether it is a cluster.

    Raises:
        ConfigError: If the cluster does not answer, or does not take this process.
    """
    import ray
    from ray.exceptions import AuthenticationError

    address = announced()
    if address is None:
        try:
            ray.init(num_cpus=cpus, include_dashboard=False, **options)
            return False
        except ValueError as error:
            if "existing cluster" not in str(error):  # Ray knows of one that `announced` does not
                raise
    else:
        _check_address(address)
    try:
        ray.init(**options)
    except (AuthenticationError, ConnectionError) as error:
        texts = f"{type(error).__name__} {error} {error.__cause__}"
        if "AuthenticationError" in texts:
            raise ConfigError(
                f"RAY_AUTH_MODE: the cluster {address or ''} refuses this process's token, or it has none; allowed is "
                "RAY_AUTH_MODE=token with the cluster's own token in ~/.ray/auth_token"
            ) from error
        raise ConfigError(f"{_source()}: got {address!r}, no cluster answers there ({one_line(error)})") from error
    return True


def _check_address(address: str) -> None:
    """Raises ConfigError unless something answers at an address."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ConfigError(
            f"{_source()}: got {address!r}, allowed is HOST:PORT of a cluster's head, such as 10.0.0.2:6379; from "
            "outside the cluster, submit a job"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except OSError as error:
        hint = "" if _source() == VARIABLE else "; `ray stop` forgets it, and RAY_ADDRESS=local starts a Ray of its own"
        raise ConfigError(
            f"{_source()}: got {address!r}, no cluster answers there ({error.strerror or error}){hint}"
        ) from error


def _source() -> str:
    """What named the address."""
    return VARIABLE if os.environ.get(VARIABLE) else str(address_file())
