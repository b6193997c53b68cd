"""Tests of the verdict on an env of one's own."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

import entrepot
from envs.base import Actions, Outcome
from envs.cue import DOMAIN, CueEnv
from rllib_configs.overrides import load
from tune.checking import agents_of, verdict


class Leaky(CueEnv):
    """Pays those who are not there."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        outcome.rewards[self.GROUP] = outcome.rewards[self.GROUP] + 1
        return outcome


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of somebody's own with a broken domain."""
    module: Any = ModuleType("somebodys")
    module.LEAKY = replace(
        DOMAIN,
        make=lambda config, worlds, *, task=None, first_world=0: Leaky(
            config, worlds, task=task, first_world=first_world
        ),
    )
    monkeypatch.setitem(sys.modules, "somebodys", module)


def text(renderable: Any) -> str:
    """What would be printed."""
    console = Console(width=160, record=True, file=None)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_a_sound_env_is_said_to_be_sound() -> None:
    """The verdict shows the agents, what they see and do, and that the contract is kept."""
    found, kept = verdict(load("cue", overrides=["env.action_mode=discrete"]))
    assert kept
    said = text(found)
    assert "cue keeps the contract" in said
    assert "chooses among" in said


def test_a_broken_env_is_told_its_clause(mine: None) -> None:
    """The clause and where it does not hold are said."""
    found, kept = verdict(load("somebodys:LEAKY", overrides=["env.num_agents=3", "task.agents=2"]))
    assert not kept
    assert "somebodys:LEAKY breaks the contract, clause dead agents" in text(found)


def test_the_commands_exit_code_is_the_verdict(mine: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """0 if the contract is kept, 1 if not."""
    for arguments, code in (["cue"], 0), (["somebodys:LEAKY", "--set", "task.agents=1"], 1):
        monkeypatch.setattr(sys, "argv", ["entrepot", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            entrepot.main()
        assert ended.value.code == code, capsys.readouterr()


def test_an_env_that_needs_settings_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its agents cannot be shown without them; why is said in a line."""
    module: Any = ModuleType("somebodys")
    module.make = lambda size: size
    monkeypatch.setitem(sys.modules, "somebodys", module)
    assert "Its agents show once it is configured: settings" in text(agents_of("somebodys:make"))
