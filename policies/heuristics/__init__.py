"""Rules and oracles that learned policies are measured against, one file a domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from envs.base import BatchedEnv
from envs.registry import address_of, get_domain
from policies.base import Policy, RandomPolicy


@dataclass(frozen=True)
class Baselines:
    """A domain's yardsticks. Each entry makes a fresh policy.

    Attributes:
        naive: Name of the policy that scores 0.
        informed: Name of the policy that scores 1; empty where nobody knows one, and returns are all there is.
        policies: All of them, by name, the two above included, in the order of a table.
        attainable: Name of the policy that earns what an observer with the agents' own information can; empty where
            nobody knows one. It is the informed one where that knows no more than the agents do.
        bound: Mean return of an episode, over agents, that provably nobody exceeds on a task; None where nobody has
            proved one.
    """

    naive: str
    informed: str
    policies: dict[str, Callable[[], Policy]]
    attainable: str = ""
    bound: Callable[[BatchedEnv, Any], float] | None = None


def baselines(domain: str) -> Baselines:
    """The yardsticks of a domain: those its record names, or those in `BASELINES` beside it in its module.

    Raises:
        ValueError: If the domain has none.
    """
    found = get_domain(domain)
    module, _, attribute = (found.baselines or f"{address_of(domain).partition(':')[0]}:BASELINES").partition(":")
    sticks = getattr(import_module(module), attribute, None)
    if not isinstance(sticks, Baselines):
        where = f"whose record names {found.baselines}" if found.baselines else f"and {module} holds no BASELINES"
        raise ValueError(f"domain: got {domain!r}, {where}: allowed is one with a policies.heuristics.Baselines")
    return sticks


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
