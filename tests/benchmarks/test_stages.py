"""The signal benchmark sees the difference between a market with something to know and one without."""

from __future__ import annotations

import pytest

from benchmarks.stages import LEAST_GAIN, measure
from curriculum.config import Stage
from envs.trading import MarketRegime, TradingConfig, TradingTask

CONFIG = TradingConfig(num_agents=1, symbols=("A", "B"))


def stage(name: str, **task: object) -> Stage:
    """A short stage."""
    fields = {"max_steps": 60, "market_regime": MarketRegime.VOLATILE, **task}
    return Stage(name=name, title=name, task=TradingTask.model_validate(fields), promote_at=0.5)


def test_a_stage_with_drift_holds_and_one_without_does_not() -> None:
    """Every policy has a bar on every stage, and only the gain over cash is held to a goal."""
    stages = [stage("drift", drift_scale=2.0), stage("martingale", drift_scale=0.0)]
    lines: list[str] = []
    result = measure("trading", CONFIG, stages, episodes=48, progress=lines.append)
    bars = {bar.name: bar for bar in result.bars}
    assert len(lines) == 10
    assert bars["drift: cash"].value == 0
    assert bars["drift: oracle"].holds is None
    assert bars["drift: oracle over cash, lower bound"].holds is True
    assert bars["drift: oracle over cash, lower bound"].value > LEAST_GAIN
    assert bars["martingale: oracle over cash, lower bound"].holds is False
    oracle = next(row for row in result.runs if row["stage"] == "drift" and row["policy"] == "oracle")
    assert oracle["score"] == pytest.approx(1.0)
    assert oracle["episodes"] == 48
    assert not any("random" in name for name in bars)


def test_one_episode_has_no_interval() -> None:
    """Fewer than two episodes are refused, by name."""
    with pytest.raises(ValueError, match="episodes: got 1"):
        measure("trading", CONFIG, [stage("drift")], episodes=1)
