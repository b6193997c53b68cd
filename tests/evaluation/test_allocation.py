"""Tests of the pictures of resource allocation."""

from __future__ import annotations

import numpy as np

from evaluation.compare import compare
from evaluation.front_view import front_view
from evaluation.suite import load_suite
from evaluation.views import views_of
from policies.heuristics.resource_allocation import RULES
from rllib_configs.overrides import load


def test_a_report_shows_who_had_what() -> None:
    """Shares of every tenant that had work, how busy machines were, service from worst to best, and the front."""
    suite, config = load_suite("resource_allocation"), load("resource_allocation").env_config()
    assert suite.front is not None
    front = suite.front.model_copy(update={"episodes": 2, "variants": suite.front.variants[:2], "exclude": ("drf",)})
    scenarios = tuple(
        s.model_copy(update={"episodes": 4}) for s in suite.scenarios if s.name in ("few", "four_tenants")
    )
    suite = suite.model_copy(update={"scenarios": scenarios, "front": front})
    policy = RULES["shortest"]()
    policy.name = "trained"
    comparison = compare(suite, config, {"trained": policy})
    had, busy, service = views_of(suite, config, policy, comparison)
    assert len(had.figure.data) == 4
    assert max(np.max(line.y) for line in had.figure.data) <= 100 + 1e-9
    assert {line.name for line in busy.figure.data} == {"trained", "marginal welfare"}
    assert all((np.diff(bars.y) >= 0).all() and max(bars.y) <= 100 for bars in service.figure.data)
    (view,) = front_view(comparison)
    assert len([line for line in view.figure.data if line.name == "trained"]) == 3
    assert front_view(comparison.model_copy(update={"front": None})) == []
