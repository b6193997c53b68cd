"""What is trained on fits the env, or is refused in one line before anything starts."""

from __future__ import annotations

import sys
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


FAULTY = '''
import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv


class Good(ParallelEnv):
    """Nothing is wrong with it."""

    possible_agents = ["a", "b"]

    def __init__(self, length: int = 5):
        self.length = length

    def observation_space(self, agent):
        return Box(-1, 1, (2,), np.float32)

    def action_space(self, agent):
        return Discrete(3)

    def see(self):
        return {agent: np.zeros(2, np.float32) for agent in self.agents}

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return self.see(), {agent: {} for agent in self.agents}

    def step(self, actions):
        no = dict.fromkeys(self.agents, False)
        return self.see(), dict.fromkeys(self.agents, 1.0), no, no, {agent: {} for agent in self.agents}
'''
FAULTS = [
    ("reset", "super().reset()", "reset: Bad returned None, allowed are 2 dictionaries by agent: observations, infos"),
    ("reset", "return super().reset()[0], None", "reset: Bad returned None for infos, allowed are 2 dictionaries"),
    (
        "step",
        "super().step(actions)",
        "step: Bad returned None, allowed are 5 dictionaries by agent: observations, rew",
    ),
    ("step", "return super().step(actions)[:4]", "step: Bad returned 4 values, allowed are 5 dictionaries by agent"),
    ("see", "return dict.fromkeys(self.agents)", "observation of 'a': got None, allowed is a value of Box(-1.0, 1.0, "),
    (
        "see",
        "return dict.fromkeys(self.agents, np.zeros(3))",
        "observation of 'a': got an array of shape (3,), allowed",
    ),
    (
        "see",
        "return dict.fromkeys(self.agents, np.full(2, np.nan))",
        "observation of 'a': got an array of shape (2,) wit",
    ),
    (
        "step",
        "a, b, *c = super().step(actions); return a, {'a': np.nan}, *c",
        "reward of 'a': got nan, allowed is a fini",
    ),
    (
        "step",
        "a, b, *c = super().step(actions); return a, {'a': None}, *c",
        "reward of 'a': got None, allowed is a fin",
    ),
    ("step", "raise KeyError('price')", "her_faults:Bad cannot be made and take a step (KeyError: 'price')"),
    ("observation_space", "pass", "observation space of 'a': got None, allowed is one of gymnasium.spaces"),
    ("action_space", "pass", "action space of 'a': got None, allowed are Discrete, MultiDiscrete, MultiBinary and Box"),
]


@pytest.mark.parametrize(("method", "body", "line"), FAULTS)
def test_a_faulty_env_of_the_users_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, body: str, line: str
) -> None:
    """The line names the method or the agent, what came and what is allowed."""
    given = {"reset": "seed=None, options=None", "step": "actions", "see": ""}.get(method, "agent")
    (tmp_path / "her_faults.py").write_text(
        f"{FAULTY}\n\nclass Bad(Good):\n    def {method}(self, {given}):\n        {body}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "her_faults", raising=False)
    with pytest.raises(ConfigError) as caught:
        stages_of(load("her_faults:Bad"))
    assert str(caught.value).startswith(f"env: {line}")
    assert "\n" not in str(caught.value)


def test_settings_that_an_env_does_not_take_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the arguments there are; those that it takes reach it."""
    (tmp_path / "her_good.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    assert stages_of(load("her_good:Good", overrides=["env.settings.length=9"])).stages
    with pytest.raises(ConfigError, match=r"^env: settings: got lenth, allowed is what the env takes: length: int = 5"):
        stages_of(load("her_good:Good", overrides=["env.settings.lenth=9"]))
