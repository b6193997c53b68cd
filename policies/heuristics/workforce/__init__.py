"""Yardsticks for workforces: what a planning desk does during the day, and what nobody exceeds."""

from __future__ import annotations

from policies.heuristics import Baselines
from policies.heuristics.workforce.hindsight import bound
from policies.heuristics.workforce.planner import ErlangPlanner, FixedLevel, Oracle, Unaided
from policies.heuristics.workforce.rules import Reactive, Roster, SquareRoot

BASELINES = Baselines(
    naive="roster",
    informed="erlang",
    policies={
        "roster": Roster,
        "reactive": Reactive,
        "square_root": SquareRoot,
        "mean_day": FixedLevel,
        "erlang": ErlangPlanner,
        "oracle": Oracle,
    },
    attainable="erlang",  # it sees what the agents do, and plays by the same actions
    bound=bound,
)
RULES = {**BASELINES.policies, "no_lending": Unaided}
"""All rules, for benchmarks: a table of them all would be too wide for a terminal."""
