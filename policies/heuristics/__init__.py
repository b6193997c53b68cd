"""Rules and oracles that learned policies are measured against, one file a domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from policies.base import Policy


@dataclass(frozen=True)
class Baselines:
    """A domain's yardsticks. Each entry makes a fresh policy.

    Attributes:
        naive: Name of the policy that scores 0.
        informed: Name of the policy that scores 1.
        policies: All of them, by name, the two above included, in the order of a table.
    """

    naive: str
    informed: str
    policies: dict[str, Callable[[], Policy]]


def baselines(domain: str) -> Baselines:
    """The yardsticks of a built-in domain.

    Raises:
        ValueError: If the domain has none.
    """
    try:
        module = import_module(f"policies.heuristics.{domain}")
    except ModuleNotFoundError as error:
        raise ValueError(f"domain: got {domain!r}, which has no file in policies/heuristics") from error
    found = module.BASELINES
    assert isinstance(found, Baselines)
    return found
