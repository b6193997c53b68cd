"""Which experiment is meant, and paths that hold wherever a trial runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from rllib_configs.space import load_sweep
from tune import paths
from tune.experiment import rehearse
from tune.files import write_json
from tune.preflight import prepare
from tune.sweep import resumed


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An old sweep, an old training run, a later run of another domain, and the latest of all: a run, then a sweep."""
    kept = {"old_sweep": "cue", "old_run": "cue", "other": "trading", "run": "cue", "sweep": "cue"}
    for age, (name, domain) in enumerate(kept.items()):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        paths.save_config(folder, load(domain, values={"resources.results": str(tmp_path / "results"), "seed": age}))
        os.utime(folder / paths.CONFIG, (age, age))
        if "sweep" in name:
            plan = load_sweep("cue").model_dump(mode="json")
            write_json(folder / paths.SWEEP, {"plan": plan, "samples": 3 + age})
    return tmp_path / "results"


def test_the_latest_run_is_no_sweep_and_the_latest_sweep_no_run(results: Path) -> None:
    """What is resumed without a name is the latest of its kind."""
    config = load("cue", values={"resources.results": str(results)})
    assert prepare(config, resume=True)[1].name == "run"
    assert prepare(config, resume=True, sweep=True)[1].name == "sweep"
    (results / "sweep" / paths.CONFIG).unlink()
    assert prepare(config, resume=True, sweep=True)[1].name == "old_sweep"
    with pytest.raises(ConfigError, match="there is no sweep with trading in"):
        prepare(load("trading", values={"resources.results": str(results)}), resume=True, sweep=True)


def test_a_sweep_resumed_as_a_run_says_which_command_is_meant(results: Path) -> None:
    """And the other way round."""
    config = load("cue", values={"resources.results": str(results)})
    with pytest.raises(ConfigError, match=r"got 'sweep', which is not a training run; resume it with entrepot sweep"):
        prepare(config, "sweep", resume=True)
    with pytest.raises(ConfigError, match=r"got 'run', which is not a sweep; resume it with entrepot train"):
        prepare(config, "run", resume=True, sweep=True)


def test_a_resumed_sweep_is_the_one_that_was_begun(results: Path) -> None:
    """Configuration, plan and samples come from its folder, and nothing else has to be given."""
    config, folder, plan, samples = resumed(load("cue", values={"resources.results": str(results)}), None)
    assert (config.seed, folder.name, samples) == (4, "sweep", 7)
    assert plan == load_sweep("cue")


def test_folders_and_files_of_the_env_are_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices in a relative folder or file are found from any other folder; words that are no paths stay as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "prices" / "a.csv").write_text("")
    for given, meant in (
        ("prices", str(tmp_path / "prices")),
        ("prices/a.csv", str(tmp_path / "prices" / "a.csv")),
        ("real", "real"),
        ("nowhere", "nowhere"),
    ):
        config = paths.absolute(load("trading", overrides=[f"env.data={given}", "env.symbols=[AAPL]"]))
        assert config.env["data"] == meant
        assert paths.absolute(config) == config
    assert "data" not in paths.absolute(load("trading")).env


MODULE = '''
from gymnasium.utils import EzPickle
from gymnasium.spaces import Discrete
from pettingzoo import ParallelEnv


class Env(EzPickle, ParallelEnv):
    """Pickles by its arguments."""

    possible_agents = ["a", "b"]

    def __init__(self, folder="", name=""):
        EzPickle.__init__(self, folder, name)

    def observation_space(self, agent):
        return Discrete(3)

    def action_space(self, agent):
        return Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return dict.fromkeys(self.agents, 0), {agent: {} for agent in self.agents}

    def step(self, actions):
        no = dict.fromkeys(self.agents, False)
        return dict.fromkeys(self.agents, 1), dict.fromkeys(self.agents, 1.0), no, no, {a: {} for a in self.agents}
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own env, in a module of hers."""
    (tmp_path / "her_env.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "her_env:Env"


def test_paths_in_a_users_settings_hold_too(mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder written with a slash is a path, a mere word is not, whatever folders there are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    settings = ["env.settings.folder=./maps", "env.settings.name=maps"]
    config = paths.absolute(load(mine, overrides=settings))
    assert config.env["settings"] == {"folder": str(tmp_path / "maps"), "name": "maps"}


def test_a_run_that_cannot_keep_its_episodes_says_so_when_resumed(mine: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the process that people read, one line names the env and what its copy lacks; other envs say nothing."""
    rehearse(load("cue"))
    assert caplog.messages == []
    rehearse(load(mine))
    assert caplog.messages == [
        "env: a copy of Env is not what was copied (agents is missing): episodes that were under way begin anew"
    ]
