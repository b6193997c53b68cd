"""Everything that can be refused before Ray is started, and before Ray, torch or MLflow are even imported."""

from __future__ import annotations

import os
from pathlib import Path

from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import stages_of
from tune import paths
from tune.files import ready_folder
from tune.launch import check_resources, local_cpus


def prepare(
    config: ExperimentConfig, name: str | None = None, *, resume: bool = False, prefix: str = ""
) -> tuple[ExperimentConfig, Path]:
    """Checks a run's folder, stages and resources; makes nothing but the folder of all results.

    Args:
        config: The experiment.
        name: Its name; made up if None.
        resume: Whether it goes on; its own configuration then counts.
        prefix: What a made-up name begins with.

    Returns:
        The configuration with absolute paths, and the experiment's folder.

    Raises:
        ConfigError: If the name, the stages or the resources are not what they may be.
        tune.files.FolderError: If results cannot be written.
    """
    config = paths.absolute(config)
    results = ready_folder(Path(config.resources.results))
    if resume:
        folder = paths.find_folder(results, name, config.domain)
        config = paths.load_config(folder)
    else:
        folder = paths.new_folder(config, name or prefix + paths.new_name(config))
    stages_of(config)
    if not os.environ.get("RAY_ADDRESS"):
        check_resources(config, config.resources.cpus or local_cpus())
    return config, folder
