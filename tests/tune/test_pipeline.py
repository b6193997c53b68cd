"""Training as a library call: what it is configured with, what it returns, and how it is told of."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rllib_configs.errors import ConfigError
from tune import figures
from tune.events import Event, EventKind
from tune.pipeline import RLTrainingPipeline, TrainingConfig, configured, create_trading_pipeline


def small(folder: Path, name: str, episodes: int = 256) -> RLTrainingPipeline:
    """A pipeline that takes seconds: 64 episodes an iteration."""
    return RLTrainingPipeline(
        "cue",
        TrainingConfig(total_episodes=episodes, eval_frequency=128, checkpoint_frequency=64, use_curriculum=False),
        experiment_name=name,
        settings={
            "resources.results": str(folder / "results"),
            "evaluation.episodes": 16,
            "evaluation.final_episodes": 16,
            "tracking.enabled": False,
        },
        quiet=True,
    )


def test_episodes_are_turned_into_iterations() -> None:
    """32 worlds play 20 steps of 10-step episodes: 64 episodes an iteration, of which 500 make 7."""
    training = TrainingConfig(total_episodes=900, eval_frequency=500, checkpoint_frequency=1, use_curriculum=False)
    config = configured("cue", training.model_copy(update={"early_stopping_patience": 70}), {})
    assert (config.stop.episodes, config.stop.iterations, config.stop.patience) == (900, None, 70)
    assert (config.evaluation.interval, config.checkpoint.interval) == (7, 1)
    assert configured("cue", training.model_copy(update={"eval_frequency": 0}), {}).evaluation.interval == 0


def test_the_briefs_call_configures_a_team_of_traders() -> None:
    """Names and meaning are the brief's."""
    pipeline = create_trading_pipeline(
        num_agents=3, total_episodes=10000, use_curriculum=True, experiment_name="my_trading_experiment"
    )
    assert pipeline.experiment_name == "my_trading_experiment"
    assert pipeline.config.curriculum == "trading"
    assert (pipeline.config.env["num_agents"], pipeline.config.env["data"]) == (3, "synthetic")
    assert pipeline.config.stop.episodes == 10000
    assert create_trading_pipeline(use_curriculum=False).config.curriculum is None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"num_agents": 0}, "env.num_agents: got 0"),
        ({"num_agents": -2}, "env.num_agents: got -2"),
        ({"settings": {"ppo.lrr": 1}}, r"ppo\.lrr: no such key \(did you mean ppo\.lr\?\)"),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments: dict[str, Any], line: str) -> None:
    """Nothing is started to find them."""
    with pytest.raises(ConfigError, match=line):
        create_trading_pipeline(**arguments)


def test_a_training_config_knows_its_fields() -> None:
    """The brief's fields exist with its bounds, others do not."""
    TrainingConfig(
        total_episodes=10000,
        eval_frequency=500,
        checkpoint_frequency=2000,
        use_curriculum=True,
        use_synthetic_data=True,
        early_stopping_patience=2000,
    )
    for wrong in ({"total_episodes": 0}, {"episodes": 5}):
        with pytest.raises(ValidationError):
            TrainingConfig(**wrong)


@pytest.mark.timeout(400)
def test_it_trains_without_blocking_and_tells_what_happens(ray_local: None, tmp_path: Path) -> None:
    """Events arrive while training goes on, and the results hold the score and where everything lies."""
    pipeline = small(tmp_path, "told")

    async def follow() -> list[Event]:
        return [event async for event in pipeline.events()]

    told = asyncio.run(follow())
    results = pipeline.results
    assert results is not None
    assert results["best_eval_score"] > 0.5
    assert results["episodes"] == 256
    assert results["stopped_by"] == "256 episodes"
    assert Path(results["bundle"]).is_dir()
    assert Path(results["report"]).is_file()
    assert results["scores"]["default"]["repeat"] == pytest.approx(1.0)
    assert [event.kind for event in told].count(EventKind.PROGRESS) == len(results["history"]) == 4
    assert told[-1].kind is EventKind.FINISHED


@pytest.mark.timeout(400)
def test_a_cancelled_training_ends_soon_and_can_be_resumed(ray_local: None, tmp_path: Path) -> None:
    """Cancelling the task stops Tune; the same name goes on to the end later."""

    async def cancel() -> int:
        seen = 0
        async for event in small(tmp_path, "cancelled", episodes=2560).events():
            seen = max(seen, int(event.figures.get(figures.ITERATION, 0)))
            if event.kind is EventKind.CHECKPOINT:
                break
        return seen

    assert 1 <= asyncio.run(cancel()) < 40
    assert not (tmp_path / "results" / "cancelled" / "trained.json").exists()
    results = small(tmp_path, "cancelled").train_sync(resume=True)
    assert results["episodes"] == 2560
    assert [row[figures.ITERATION] for row in results["history"]] == list(range(1, 41))
