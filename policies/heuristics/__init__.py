"""Rules and oracles that learned policies are measured against, one file a domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from policies.base import Policy, RandomPolicy


@dataclass(frozen=True)
class Baselines:
    """A domain's yardsticks. Each entry makes a fresh policy.

    Attributes:
        naive: Name of the policy that scores 0.
        informed: Name of the policy that scores 1; empty where nobody knows one, and returns are all there is.
        policies: All of them, by name, the two above included, in the order of a table.
    """

    naive: str
    informed: str
    policies: dict[str, Callable[[], Policy]]


def baselines(domain: str) -> Baselines:
    """The yardsticks of a domain: of a built-in one by its name, of a user's own by its `package.module:attribute`.

    A user's module says them in a `BASELINES` of its own, beside the domain.

    Raises:
        ValueError: If the domain has none.
    """
    module, own, _ = domain.partition(":")
    address = module if own else f"policies.heuristics.{domain}"
    try:
        found = getattr(import_module(address), "BASELINES", None)
    except ModuleNotFoundError as error:
        if error.name != address:
            raise
        found = None
    if not isinstance(found, Baselines):
        missing = "whose module holds no BASELINES" if own else "which has no file in policies/heuristics"
        raise ValueError(f"domain: got {domain!r}, {missing}")
    return found


RANDOM = Baselines("random", "", {"random": RandomPolicy})
"""What a domain without yardsticks of its own is held to: whoever cannot beat it has learned nothing."""


def yardsticks_of(domain: str) -> Baselines:
    """The yardsticks of a domain, or `RANDOM` if it has none."""
    return baselines(domain) if has_baselines(domain) else RANDOM


def has_baselines(domain: str) -> bool:
    """Whether policies of a domain can be scored."""
    try:
        baselines(domain)
    except ValueError:
        return False
    return True
