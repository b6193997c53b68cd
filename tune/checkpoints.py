"""The networks in a checkpoint, without RLlib's algorithm around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algorithms.mapping import PolicyMapping
from rllib_configs.build import build_algorithm_config
from rllib_configs.schema import ExperimentConfig

MODULES = Path("learner_group/learner/rl_module")
"""Where RLlib keeps the networks in a checkpoint, one folder a module."""


@dataclass(frozen=True)
class TrainedModules:
    """Networks and who plays with them.

    Attributes:
        modules: The networks, by id.
        mapping: Who plays with which.
    """

    modules: dict[str, Any]
    mapping: PolicyMapping


def load_modules(config: ExperimentConfig, checkpoint: Path) -> TrainedModules:
    """Builds an experiment's networks and loads a checkpoint's weights and normalisers into them.

    Args:
        config: The experiment that the checkpoint is of.
        checkpoint: The checkpoint's folder.

    Raises:
        FileNotFoundError: If the checkpoint lacks a network.
    """
    algorithm = build_algorithm_config(config)
    algorithm.validate()
    modules: dict[str, Any] = {}
    for module_id, spec in algorithm.rl_module_spec.rl_module_specs.items():
        folder = checkpoint / MODULES / module_id
        if not folder.is_dir():
            raise FileNotFoundError(2, f"{checkpoint}: holds no network {module_id!r}")
        modules[module_id] = spec.build()
        modules[module_id].restore_from_path(str(folder))
    return TrainedModules(modules, algorithm.policy_mapping())
