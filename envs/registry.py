"""The domains there are, by name: what each brings, and how its worlds are made.

What concerns the floors above (yardsticks, curriculum, suite, settings) is named here by an address or lies in a file
of the domain's own folder; whoever needs a part resolves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from envs.base import BatchedEnv, EnvConfig, Task

ENTRY_POINTS = "entrepot.domains"
"""Group in which an installed package names its domains."""


class MakeEnv(Protocol):
    """Makes a batch of worlds."""

    def __call__(self, config: Any, num_worlds: int, *, task: Any = None, first_world: int = 0) -> BatchedEnv:
        """Makes `num_worlds` worlds of `config`, which begin with `task` (the domain's default if None)."""


@dataclass(frozen=True)
class Domain:
    """A business problem: how it is configured, which tasks it poses, how its worlds are made, and what belongs to it.

    Attributes:
        name: Name, which its trained policies are registered under.
        summary: One line for a newcomer.
        config_type: What is fixed for a run.
        task_type: What varies between stages and scenarios.
        make: Makes the worlds.
        baselines: Address of its yardsticks, a `policies.heuristics.Baselines`; empty: it has none, unless `BASELINES`
            stands beside it in its module.
        folder: Folder of the files it brings, as far as it does: `curriculum.yaml`; `suite.yaml`, what its policies are
            examined on and how reports show it; `ALGORITHM.yaml`, settings to learn it with; `sweep.yaml`, what a sweep
            tries. None: it brings none, or it came with Entrepot, where they lie in the folders they concern.
        learned_by: The algorithm that learns it where nobody says.
        views: Address of a maker of pictures for reports (`evaluation.views.MakeViews`); empty: it has none.
        slopes: Address of what says how the team's return changes with each action on a tape of a
            `envs.base.Differentiable` env, those after it as they were: by group, `[T, B, A, K]`. What would come after
            the last step counts as nothing. Empty: it has none.
        presets: What `env.preset` may be, and the domain that each is: other simulators of the same problem.
    """

    name: str
    summary: str
    config_type: type[EnvConfig]
    task_type: type[Task]
    make: MakeEnv
    baselines: str = ""
    folder: Path | None = None
    learned_by: str = "ppo"
    views: str = ""
    slopes: str = ""
    presets: Mapping[str, str] = field(default_factory=dict)

    def env(
        self,
        config: EnvConfig | Mapping[str, Any] | None = None,
        num_worlds: int = 1,
        *,
        task: Task | Mapping[str, Any] | None = None,
        first_world: int = 0,
    ) -> BatchedEnv:
        """Makes a batch of worlds from typed or plain values.

        Args:
            config: The domain's config, or its fields; defaults if None.
            num_worlds: Number of worlds `B`.
            task: The task all worlds begin with, or its fields; the domain's default if None.
            first_world: Number of the first world in the run as a whole.

        Raises:
            pydantic.ValidationError: If a key or value is not allowed.
        """
        if not isinstance(config, EnvConfig):
            config = self.config_type.model_validate(dict(config or {}))
        if task is not None and not isinstance(task, Task):
            task = self.task_type.model_validate(dict(task))
        env = self.make(config, num_worlds, task=task, first_world=first_world)
        if config.recall:
            env.recall()
        return env


_BUILT_IN = {
    "trading": "envs.trading:DOMAIN",
    "supply_chain": "envs.supply_chain:DOMAIN",
    "resource_allocation": "envs.resource_allocation:DOMAIN",
    "energy": "envs.resource_allocation.energy:DOMAIN",
    "workforce": "envs.resource_allocation.workforce:DOMAIN",
    "spread": "envs.particles:DOMAIN",
    "newsvendor": "envs.newsvendor:DOMAIN",
    "cue": "envs.cue:DOMAIN",
}


_FAMILIES = {"vmas": "envs.adapters.vmas_batch"}
"""Libraries whose envs are batches already, and what makes domains of them: `vmas:balance` is found there."""


def domain_names() -> list[str]:
    """Names of the domains that come with Entrepot, and of those that installed packages bring."""
    return [*_BUILT_IN, *(name for name in _installed() if name not in _BUILT_IN)]


def address_of(name: str) -> str:
    """Where a domain lies: its `package.module:attribute`, from its name, or as it was given."""
    return _BUILT_IN.get(name) or _installed().get(name, name)


def is_built_in(name: str) -> bool:
    """Whether a domain came with Entrepot."""
    return name in _BUILT_IN


def same_domain(one: str, other: str) -> bool:
    """Whether two names or addresses mean the same domain."""
    return address_of(one) == address_of(other)


def file_of(name: str, file: str) -> Path | None:
    """A file that a domain brings in a folder of its own; None if it does not, or there is no such domain."""
    try:
        folder = get_domain(name).folder
    except ValueError:
        return None
    return folder / file if folder is not None and (folder / file).is_file() else None


def get_domain(name: str) -> Domain:
    """Finds a domain by its name, or a user's own by `package.module:attribute`.

    Args:
        name: Name of a built-in domain or of an installed package's, or the address of a `Domain`, or of what makes a
            PettingZoo `ParallelEnv` or `AECEnv` or an RLlib `MultiAgentEnv`; or `vmas:SCENARIO`.

    Raises:
        ValueError: If there is no such domain.
    """
    address = address_of(name)
    if ":" not in address:
        raise ValueError(f"domain: got {name!r}, allowed are {', '.join(domain_names())}, or package.module:attribute")
    module, _, attribute = address.partition(":")
    try:
        domain = getattr(import_module(_FAMILIES.get(module, module)), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"domain: got {name!r}, which cannot be imported ({error})") from error
    if isinstance(domain, Domain):
        return domain
    if callable(domain):
        from envs.adapters.foreign import foreign_domain  # it knows domains in its turn

        return foreign_domain(domain, address)
    raise ValueError(
        f"domain: got {name!r}, which is a {type(domain).__name__}, allowed is an envs.registry.Domain, or what makes "
        "a ParallelEnv, an AECEnv or a MultiAgentEnv"
    )


@cache
def _installed() -> dict[str, str]:
    """Addresses of the domains of installed packages, by name; nothing is imported."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
