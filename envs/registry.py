"""The domains there are, by name, and how to make one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from envs.base import BatchedEnv, EnvConfig, Task


class MakeEnv(Protocol):
    """Makes a batch of worlds."""

    def __call__(self, config: Any, num_worlds: int, *, task: Any = None, first_world: int = 0) -> BatchedEnv:
        """Makes `num_worlds` worlds of `config`, which begin with `task` (the domain's default if None)."""


@dataclass(frozen=True)
class Domain:
    """A business problem: how it is configured, which tasks it poses, and how its worlds are made.

    Attributes:
        name: Name on the command line and in RLlib's registry.
        summary: One line for a newcomer.
        config_type: What is fixed for a run.
        task_type: What varies between stages and scenarios.
        make: Makes the worlds.
    """

    name: str
    summary: str
    config_type: type[EnvConfig]
    task_type: type[Task]
    make: MakeEnv

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
        return self.make(config, num_worlds, task=task, first_world=first_world)


_BUILT_IN = {
    "trading": "envs.trading:DOMAIN",
    "cue": "envs.cue:DOMAIN",
}


def domain_names() -> list[str]:
    """Names of the built-in domains."""
    return list(_BUILT_IN)


def get_domain(name: str) -> Domain:
    """Finds a domain by its name, or a user's own by `package.module:attribute`.

    Args:
        name: A built-in name, or the dotted address of a `Domain`, or of what makes a PettingZoo `ParallelEnv` or an
            RLlib `MultiAgentEnv`.

    Raises:
        ValueError: If there is no such domain.
    """
    address = _BUILT_IN.get(name, name)
    if ":" not in address:
        raise ValueError(f"domain: got {name!r}, allowed are {', '.join(_BUILT_IN)}, or package.module:attribute")
    module, _, attribute = address.partition(":")
    try:
        domain = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"domain: got {name!r}, which cannot be imported ({error})") from error
    if isinstance(domain, Domain):
        return domain
    if callable(domain):
        from envs.adapters.foreign import foreign_domain  # it knows domains in its turn

        return foreign_domain(domain, name)
    raise ValueError(
        f"domain: got {name!r}, which is a {type(domain).__name__}, allowed is an envs.registry.Domain, or what makes "
        "a ParallelEnv or a MultiAgentEnv"
    )
