"""Where an experiment's files lie, and every path made absolute before trials start in folders of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from policies.files import write_text
from rllib_configs.errors import ConfigError
from rllib_configs.overrides import read_yaml, unknown_name, validate
from rllib_configs.schema import ExperimentConfig
from tune.tracking_uri import absolute_uri

CONFIG = "config.yaml"
TRAINED = "trained.json"
REGISTERED = "registered.json"
FINISHED = "finished.json"
BUNDLE = "bundle"
EVALUATION = "evaluation.json"
REPORT = "report.html"
RANKING = "ranking.json"
SWEEP = "sweep.json"
"""What only the folder of a sweep holds."""

_settled: dict[str, Path] = {}


def absolute(config: ExperimentConfig) -> ExperimentConfig:
    """The same configuration with every path in it absolute."""
    results = str(Path(config.resources.results).expanduser().absolute())
    return config.model_copy(
        update={
            "curriculum": _path(config.curriculum),
            "evaluation": config.evaluation.model_copy(update={"suite": _path(config.evaluation.suite)}),
            "env": {**_paths_in(config.env), **config.env_config().located()},
            "tracking": config.tracking.model_copy(update={"uri": absolute_uri(config.tracking.uri)}),
            "resources": config.resources.model_copy(update={"results": results}),
        }
    )


def _path(value: str | None) -> str | None:
    """The value, absolute if it is the path of a file or, written with a slash, of a folder there is."""
    if value is None:
        return None
    path = Path(value).expanduser()
    there = path.is_file() if path.suffix else "/" in value and path.is_dir()
    return str(path.absolute()) if there else value


def _paths_in(value: Any) -> Any:
    """The same, of all text in a setting of the env."""
    if isinstance(value, Mapping):
        return {key: _paths_in(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_paths_in(item) for item in value)
    return _path(value) if isinstance(value, str) else value


def check_name(name: str) -> str:
    """An experiment's name, which becomes a folder's.

    Raises:
        ConfigError: If it is not one.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"experiment: got {name!r}, allowed are up to 100 letters, digits, dots, dashes, underscores")
    return name


def new_name(config: ExperimentConfig) -> str:
    """A name for an experiment that got none: its domain and the time."""
    return f"{config.domain_name}_{datetime.now():%Y%m%d-%H%M%S}"


def new_folder(config: ExperimentConfig, name: str) -> Path:
    """The folder of a new experiment, not made yet.

    Raises:
        ConfigError: If there is one of that name already.
    """
    folder = Path(config.resources.results) / check_name(name)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"experiment: got {name!r}, which exists in {folder.parent}; choose another name, or --resume"
        )
    return folder


def find_folder(
    results: Path, name: str | None, domain: str, others: Iterable[str] = (), *, sweep: bool = False
) -> Path:
    """The folder of an experiment that exists: of the given name, or the domain's latest.

    Args:
        results: Folder that holds the experiments.
        name: Its name, if it is known.
        domain: The domain whose latest is meant if not.
        others: Names that are known besides, to guess at what was meant.
        sweep: Whether the latest sweep is meant, or the latest training run.

    Raises:
        ConfigError: If there is none.
    """
    found = sorted(results.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime)
    if name is not None:
        folder = results / check_name(name)
        if not (folder / CONFIG).is_file():
            raise ConfigError(unknown_name("experiment", name, {*others, *(path.parent.name for path in found)}))
        return folder
    for path in reversed(found):
        if (path.parent / SWEEP).is_file() == sweep and read_yaml(path).get("domain") == domain:
            return path.parent
    raise ConfigError(f"--resume: there is no {'sweep' if sweep else 'training run'} with {domain} in {results}")


def check_kind(folder: Path, *, sweep: bool) -> None:
    """Raises ConfigError, with the command that is meant, if a sweep is resumed as a training run or vice versa."""
    if (folder / SWEEP).is_file() == sweep:
        return
    this, other = ("a sweep", "train") if sweep else ("a training run", "sweep")
    raise ConfigError(f"--resume: got {folder.name!r}, which is not {this}; resume it with entrepot {other}")


def settle(folder: Path) -> None:
    """Says where an experiment's folder lies on this machine."""
    _settled[folder.name] = folder


def here(folder: Path) -> Path:
    """An experiment's folder on this machine, whichever machine `folder` was written down on.

    Tune pickles its callbacks with the folders they hold, and another machine may go on with the run.
    """
    return _settled.get(folder.name, folder)


def save_config(folder: Path, config: ExperimentConfig) -> None:
    """Writes the complete configuration down beside its results."""
    write_text(folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=120))


def load_config(folder: Path) -> ExperimentConfig:
    """Reads what `save_config` wrote.

    Raises:
        ConfigError: If it is not there or no longer valid.
    """
    return validate(read_yaml(folder / CONFIG))
