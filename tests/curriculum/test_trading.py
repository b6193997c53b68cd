"""The trading curriculum that comes with the repository."""

from __future__ import annotations

import numpy as np
import pytest

from curriculum.config import Stage, load_curriculum
from envs.registry import get_domain
from envs.trading import MarketRegime, TradingTask
from evaluation.statistics import significantly_better
from policies.heuristics import baselines
from policies.rollout import play

CURRICULUM = load_curriculum("trading")
ENV = {"symbols": [f"S{n}" for n in range(15)], "num_agents": 1}


def test_stages_are_the_briefs() -> None:
    """Two, five, eight, ten and fifteen assets; the last two in a crisis and through all regimes."""
    tasks = [stage.task for stage in CURRICULUM.stages]
    assert all(isinstance(task, TradingTask) for task in tasks)
    assert [task.num_assets for task in tasks] == [2, 5, 8, 10, 15]
    assert [task.market_regime for task in tasks][-3:] == [
        MarketRegime.VOLATILE,
        MarketRegime.CRISIS,
        MarketRegime.SWITCHING,
    ]


@pytest.mark.parametrize("stage", CURRICULUM.stages, ids=lambda stage: stage.name)
def test_the_oracle_beats_cash(stage: Stage) -> None:
    """On 24 markets of every stage the oracle's gain over cash is beyond chance: the stage can teach something."""
    env = get_domain("trading").env(ENV, 24)
    sticks = baselines("trading")
    returns = {name: play(env, sticks.policies[name](), stage.task, seed=11).returns for name in ("cash", "oracle")}
    assert np.all(returns["cash"] == 0)
    assert significantly_better(returns["oracle"], returns["cash"])
