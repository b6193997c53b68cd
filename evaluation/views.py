"""Pictures that a domain adds to a report of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import plotly.graph_objects as go

from envs.registry import get_domain
from evaluation.results import Comparison
from evaluation.suite import Suite
from policies.base import Policy


@dataclass(frozen=True)
class View:
    """A picture.

    Attributes:
        title: Its name for people.
        caption: What is to be seen, in a sentence or two.
        figure: The picture.
    """

    title: str
    caption: str
    figure: go.Figure


MakeViews = Callable[[Suite, Any, Policy, Comparison], list[View]]
"""Makes a domain's views of a trained policy: from its suite, the run's env config, the policy, and the comparison."""


def views_of(suite: Suite, env_config: Any, policy: Policy, comparison: Comparison) -> list[View]:
    """The views that the suite's domain has, at the address that its record names; none if it names none."""
    address = get_domain(suite.domain).views
    if not address:
        return []
    module, _, attribute = address.partition(":")
    make: MakeViews = getattr(import_module(module), attribute)
    return make(suite, env_config, policy, comparison)
