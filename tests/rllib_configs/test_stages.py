"""What is trained on fits the env, or is refused in one line before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from rllib_configs.stages import load_stages, stages_of

STAGE = "- {name: %s, title: %s, promote_at: 0.5, min_episodes: 10, task: {entities: %d}}\n"


def curriculum(folder: Path, entities: int = 2, domain: str = "cue") -> Path:
    """A curriculum of two stages."""
    file = folder / "mine.yaml"
    file.write_text(f"domain: {domain}\nstages:\n{STAGE % ('one', 'One', 1)}{STAGE % ('two', 'Two', entities)}")
    return file


def test_the_trading_curriculum_fits_the_trading_config() -> None:
    """The env of the YAML is sized for the largest stage."""
    stages = load_stages(load("trading"))
    assert stages is not None
    assert len(stages.stages) == 5


def test_a_single_task_is_one_stage_without_a_bar() -> None:
    """Without a curriculum there is one stage, of the task that is set, and no curriculum callback."""
    config = load("cue", overrides=["task.max_steps=7"])
    assert load_stages(config) is None
    (stage,) = stages_of(config).stages
    assert stage.task.max_steps == 7


def test_a_stage_too_large_for_the_env_is_named(tmp_path: Path) -> None:
    """The line names the curriculum, the stage, the field and the limit."""
    config = load("cue", overrides=[f"curriculum={curriculum(tmp_path, entities=9)}", "task=null"])
    with pytest.raises(ConfigError, match=r"stage two: entities: got 9, allowed is at most 3"):
        stages_of(config)


def test_a_task_too_large_for_the_env_is_named() -> None:
    """The same holds for a task without a curriculum."""
    with pytest.raises(ConfigError, match="task: entities: got 9"):
        stages_of(load("cue", overrides=["task.entities=9"]))


def test_a_curriculum_of_another_domain_is_refused(tmp_path: Path) -> None:
    """Stages of trading mean nothing to the cue env."""
    with pytest.raises(ConfigError, match="which is for 'trading', allowed is one for 'cue'"):
        stages_of(load("cue", overrides=["curriculum=trading", "task=null"]))


def test_an_unknown_curriculum_is_told_with_the_known_ones() -> None:
    """The line lists the curricula there are."""
    with pytest.raises(ConfigError, match="curriculum: got 'nope', allowed are"):
        stages_of(load("cue", overrides=["curriculum=nope", "task=null"]))
