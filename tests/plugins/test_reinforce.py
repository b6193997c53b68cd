"""Tests of what an algorithm brings, with one that only tests know."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from algorithms.registry import algorithm_names, get_algorithm
from rllib_configs.build import check_algorithm
from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load

ADDRESS = "reinforce:ALGORITHM"


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The throw-away algorithm and domain, found as a user's own are."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    yield
    for module in ("reinforce", "dock"):
        sys.modules.pop(module, None)


def test_its_section_is_part_of_the_schema() -> None:
    """Settings are read from its own YAML, set by path, checked like ours, and PPO's are none of them."""
    config = load("cue", ADDRESS, overrides=["reinforce.lr=0.5"])
    assert config.settings.model_dump() == {"lr": 0.5, "gamma": 0.9}
    assert "ppo" not in config.model_dump()
    check_algorithm(config)
    with pytest.raises(ConfigError, match=r"^reinforce.lr: got -1"):
        load("cue", ADDRESS, overrides=["reinforce.lr=-1"])
    with pytest.raises(ConfigError, match=r"^ppo: no such key"):
        load("cue", ADDRESS, overrides=["ppo.lr=0.1"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dqn", r"^algorithm: got 'dqn', allowed are ppo, pathwise, sac, maddpg, qmix, or package.module:attribute$"),
        ("nowhere:ALGORITHM", r"^algorithm: got 'nowhere:ALGORITHM', which cannot be imported"),
        ("dock:DOMAIN", r"^algorithm: got 'dock:DOMAIN', which is a Domain, allowed is"),
    ],
)
def test_what_is_no_algorithm_is_refused(name: str, said: str) -> None:
    """In one line, with what there is."""
    with pytest.raises(ConfigError, match=said):
        load("cue", name)


def test_built_in_algorithms_are_listed() -> None:
    """Each is found by its name and brings a model of its settings."""
    assert algorithm_names()[0] == "ppo"
    assert set(get_algorithm("ppo").settings_type().model_fields) >= {"lr", "gamma", "clip"}


def test_it_learns_the_cue(ray_local: None) -> None:
    """Its own loop over its own rows learns what there is to learn."""
    from tune.trainable import algorithm_config

    values = {
        "evaluation.interval": 0,
        "runners.worlds": 64,
        "runners.rollout_length": 20,
        "env.action_mode": "discrete",
    }
    algorithm = algorithm_config(
        load("cue", ADDRESS, values=values | {"task.max_steps": 5, "reinforce.gamma": 0})
    ).build_algo()
    try:
        first = algorithm.train()["env_runners"]["episode_return_mean"]
        for _ in range(25):
            last = algorithm.train()["env_runners"]["episode_return_mean"]
        assert last > first + 0.5
    finally:
        algorithm.stop()
