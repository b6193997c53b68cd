"""Yardsticks for supply chains: what an operations researcher would do, and what is optimal where that is known."""

from __future__ import annotations

from policies.heuristics import Baselines
from policies.heuristics.supply_chain.hindsight import bound
from policies.heuristics.supply_chain.levels import AsSold, BaseStock, Tuned
from policies.heuristics.supply_chain.orderers import CappedBaseStock, ReorderPoint, Sterman
from policies.heuristics.supply_chain.safety_stocks import critical_ratio

BASELINES = Baselines(
    naive="as_sold",
    informed="tuned",
    policies={
        "as_sold": AsSold,
        "newsvendor": lambda: BaseStock(critical_ratio, "newsvendor"),
        "tuned": Tuned,
    },
    attainable="tuned",  # it sees what the agents do, and plays by the same actions
    bound=bound,
)
RULES = {**BASELINES.policies, "s_S": ReorderPoint, "capped": CappedBaseStock, "sterman": Sterman}
"""All rules, for benchmarks: a table of them all would be too wide for a terminal."""
