"""Yardsticks for energy: what an owner would do, what a planner would do, and what is best in hindsight."""

from __future__ import annotations

from policies.heuristics import Baselines
from policies.heuristics.energy.hindsight import bound
from policies.heuristics.energy.rolling import PriceTaker, Rolling
from policies.heuristics.energy.rules import Arbitrage, AsOne, Idle

BASELINES = Baselines(
    naive="idle",
    informed="rolling",
    policies={
        "idle": Idle,
        "arbitrage": Arbitrage,
        "price_taker": PriceTaker,
        "as_one": AsOne,
        "rolling": Rolling,
    },
    attainable="rolling",  # it knows the forecasts that agents see
    bound=bound,
)
