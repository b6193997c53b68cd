"""The algorithms there are, by name: what each brings, as addresses that whoever needs a part resolves.

Importing this imports neither RLlib nor torch, so that a configuration can be checked before anything is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from algorithms.config import BatchedConfig

ENTRY_POINTS = "entrepot.algorithms"
"""Group in which an installed package names its algorithms."""


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm brings.

    Attributes:
        name: Name on the command line, and of its section of settings.
        summary: One line for a newcomer.
        settings: Address of the pydantic model of its section; importing it should be cheap.
        configure: Address of `configure(settings)`, which makes its `BatchedConfig`: the algorithm's class, its learner
            and its collector come with that.
        algorithm: Address of the algorithm's class, a `BatchedAlgorithm`.
        export: Address of what writes the trained modules as a bundle, with the arguments of
            `algorithms.export.export_bundle`.
        defaults: A YAML file that `extends` one of ours and holds every setting of the section; None: the one that
            comes with it here.
        our_names: What RLlib's settings are called in the section, for errors.
    """

    name: str
    summary: str
    settings: str
    configure: str
    algorithm: str
    export: str = "algorithms.export:export_bundle"
    defaults: Path | None = None
    our_names: Mapping[str, str] = field(default_factory=dict)

    def settings_type(self) -> type[BaseModel]:
        """The model of its section."""
        found: type[BaseModel] = resolve(self.settings)
        return found

    def config(self, settings: BaseModel) -> BatchedConfig:
        """Its RLlib configuration, with its own settings and no others."""
        made: BatchedConfig = resolve(self.configure)(settings)
        return made

    def exporter(self) -> Any:
        """What writes its bundles."""
        return resolve(self.export)


_BUILT_IN = {
    "ppo": Algorithm(
        "ppo",
        "Proximal policy optimisation.",
        settings="algorithms.ppo_settings:PPOSettings",
        configure="algorithms.ppo:configure",
        algorithm="algorithms.ppo:PPO",
        our_names={"minibatch_size": "minibatch", "num_epochs": "epochs", "limits": "limits", "sequence": "sequence"},
    ),
    "pathwise": Algorithm(
        "pathwise",
        "Learning by slopes, where the env has them.",
        settings="algorithms.pathwise_settings:PathwiseSettings",
        configure="algorithms.pathwise:configure",
        algorithm="algorithms.pathwise:Pathwise",
        our_names={"minibatch_size": "minibatch", "num_epochs": "epochs"},
    ),
    "sac": Algorithm(
        "sac",
        "Soft actor-critic.",
        settings="algorithms.sac.settings:SACSettings",
        configure="algorithms.sac.sac:configure",
        algorithm="algorithms.sac.sac:SAC",
    ),
    "maddpg": Algorithm(
        "maddpg",
        "Deterministic policies, and critics that see what all see and do.",
        settings="algorithms.maddpg.settings:MADDPGSettings",
        configure="algorithms.maddpg.maddpg:configure",
        algorithm="algorithms.maddpg.maddpg:MADDPG",
    ),
    "qmix": Algorithm(
        "qmix",
        "The team's value, made of what each agent's choices are worth.",
        settings="algorithms.qmix.settings:QMIXSettings",
        configure="algorithms.qmix.qmix:configure",
        algorithm="algorithms.qmix.qmix:QMIX",
    ),
}


def algorithm_names() -> list[str]:
    """Names of the algorithms that come with Entrepot, and of those that installed packages bring."""
    return [*_BUILT_IN, *(name for name in _installed() if name not in _BUILT_IN)]


def get_algorithm(name: str) -> Algorithm:
    """Finds an algorithm by its name, or a user's own by `package.module:attribute`.

    Raises:
        ValueError: If there is no such algorithm.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    address = _installed().get(name, name)
    if ":" not in address:
        allowed = f"{', '.join(algorithm_names())}, or package.module:attribute"
        raise ValueError(f"algorithm: got {name!r}, allowed are {allowed}")
    try:
        found = resolve(address)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"algorithm: got {name!r}, which cannot be imported ({error})") from error
    if not isinstance(found, Algorithm):
        kind = type(found).__name__
        raise ValueError(f"algorithm: got {name!r}, which is a {kind}, allowed is an algorithms.registry.Algorithm")
    return found


def resolve(address: str) -> Any:
    """What lies at `package.module:attribute`."""
    module, _, attribute = address.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _installed() -> dict[str, str]:
    """Addresses of the algorithms of installed packages, by name; nothing is imported."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
