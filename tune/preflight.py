"""Everything that can be refused before Ray is started, and before Ray, torch or MLflow are even imported."""

from __future__ import annotations

from pathlib import Path

from rllib_configs.errors import ConfigError
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import stages_of
from tune import paths
from tune.files import ready_folder
from tune.joining import announced, initialised
from tune.launch import check_resources, check_scheduling, local_cpus
from tune.mirror import Mirror
from tune.storage import Storage, soon, storage_of
from tune.tracking_uri import check_server, sqlite_file

JOB_FOLDER = "runtime_resources/working_dir_files"
"""Part of the path of a job's working folder, below Ray's own (`ray._private.runtime_env.working_dir`)."""


def prepare(
    config: ExperimentConfig, name: str | None = None, *, resume: bool = False, sweep: bool = False
) -> tuple[ExperimentConfig, Path]:
    """Checks a run's folder, storage, stages, tracking and resources; makes nothing but the folder of all results.

    What lies in storage and is missing or older here is fetched for a run that goes on.

    Args:
        config: The experiment.
        name: Its name; made up if None.
        resume: Whether it goes on; its own configuration then counts.
        sweep: Whether it is a sweep.

    Returns:
        The configuration with absolute paths, and the experiment's folder.

    Raises:
        ConfigError: If the name, the stages, the tracking server or the resources are not what they may be.
        tune.files.FolderError: If results or storage cannot be written.
    """
    config = paths.absolute(config)
    results = ready_folder(Path(config.resources.results))
    if resume:
        config, folder = _found(config, results, name, sweep)
    else:
        folder = paths.new_folder(config, name or ("sweep_" if sweep else "") + paths.new_name(config))
    if config.resources.storage is None and JOB_FOLDER in results.as_posix():
        raise ConfigError(
            f"resources.results: got {str(results)!r}, which Ray deletes with the job; allowed is a folder outside it, "
            "or resources.storage=s3://bucket/path"
        )
    stages_of(config)
    if not resume:
        _check_storage(config, folder.name)
        _check_tracking(config)
    if initialised():
        check_scheduling(config)
    elif announced() is None:
        check_resources(config, config.resources.cpus or local_cpus())
    return config, folder


def _check_storage(config: ExperimentConfig, name: str) -> None:
    """Refuses storage that cannot be written to, or holds an experiment of that name."""
    storage = storage_of(config)
    if storage is None:
        return
    soon(storage, storage.check)
    if storage.holds(name):
        raise ConfigError(f"experiment: got {name!r}, which exists in {storage.uri}; choose another name, or --resume")


def _check_tracking(config: ExperimentConfig) -> None:
    """Refuses a server that does not answer, and a file that would be lost with the job."""
    if not config.tracking.enabled:
        return
    uri = config.tracking.uri
    file = sqlite_file(uri)
    if file is not None and JOB_FOLDER in file.as_posix():
        raise ConfigError(
            f"tracking.uri: got {uri!r}, a file that Ray deletes with the job; allowed is the URL of an MLflow server, "
            "a SQLite file elsewhere, or tracking.enabled=false"
        )
    check_server(uri)


def _found(config: ExperimentConfig, results: Path, name: str | None, sweep: bool) -> tuple[ExperimentConfig, Path]:
    """The configuration and the folder of a run that goes on, fetched from storage if that knows it better.

    Where the run was said to be (`resources.results`, `resources.storage`) counts more than where it was.
    """
    storage, names = storage_of(config), list[str]()
    if storage is not None:
        names = soon(storage, storage.experiments)
        name = name or storage.latest(config.domain, sweep=sweep)
        if name is not None:
            Mirror(storage, results / paths.check_name(name)).pull()
    folder = paths.find_folder(results, name, config.domain, names, sweep=sweep)
    paths.check_kind(folder, sweep=sweep)
    saved = paths.load_config(folder)
    uri = config.resources.storage or saved.resources.storage
    if storage is not None and folder.name not in names and saved.resources.storage != uri:
        raise ConfigError(
            f"resources.storage: got {storage.uri!r}, which does not hold {folder.name!r}; allowed is "
            f"{saved.resources.storage or 'null'}, where that run is kept"
        )
    if storage is None and uri is not None:
        storage = Storage(uri)
        soon(storage, storage.experiments)
        if Mirror(storage, folder).pull():
            saved = paths.load_config(folder)
    resources = saved.resources.model_copy(update={"results": str(results), "storage": uri})
    return saved.model_copy(update={"resources": resources}), folder
