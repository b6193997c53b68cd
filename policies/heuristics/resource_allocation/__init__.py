"""Yardsticks for resource allocation: what a platform team would do, and gradient scheduling."""

from __future__ import annotations

from policies.heuristics import Baselines
from policies.heuristics.resource_allocation.rules import (
    BestFit,
    DeficitRoundRobin,
    DominantResourceFairness,
    DynamicFairness,
    EarliestDeadline,
    EqualSplit,
    Everything,
    FirstCome,
    MarginalWelfare,
    ShortestJob,
)

BASELINES = Baselines(
    naive="equal_split",
    informed="marginal_welfare",
    policies={
        "equal_split": EqualSplit,
        "everything": Everything,
        "drf": DominantResourceFairness,
        "deadline": EarliestDeadline,
        "shortest": ShortestJob,
        "marginal_welfare": MarginalWelfare,
    },
)
RULES = {
    **BASELINES.policies,
    "first_come": FirstCome,
    "best_fit": BestFit,
    "dynamic_drf": DynamicFairness,
    "deficit_round_robin": DeficitRoundRobin,
}
"""All rules, for benchmarks: a table of them all would be too wide for a terminal."""
