"""Tests of policies whose agents need each other, with a team that only tests know."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from algorithms.export import export_bundle
from algorithms.mapping import PolicyMapping
from algorithms.policy import ModulePolicy
from envs.base import BatchedEnv
from envs.contract import check_env
from envs.registry import get_domain
from policies.bundle import BundleError, load_bundle
from policies.rollout import play
from policies.trial import tried
from rllib_configs.overrides import load
from tune.trainable import algorithm_config

DOMAIN, ALGORITHM = "messages:DOMAIN", "messages:ALGORITHM"


@pytest.fixture(autouse=True)
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the throw-away team, found as a user's own is."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    yield __import__("messages")
    for module in ("messages", "reinforce"):
        sys.modules.pop(module, None)


def make(worlds: int, first: int = 0) -> BatchedEnv:
    """Worlds of the team."""
    return get_domain(DOMAIN).env({}, worlds, first_world=first)


def network(messages: ModuleType) -> tuple[dict[str, Any], PolicyMapping]:
    """An untrained network, and who plays with it."""
    config = messages.MessagesConfig(messages.Reinforce).environment(DOMAIN)
    config.groups = make(1).groups
    torch.manual_seed(0)
    return {"shared": config.network_spec("shared").build()}, config.policy_mapping()


def test_it_keeps_the_contract() -> None:
    """The team's env is one like others."""
    check_env(make, worlds=3, steps=20)


def test_a_team_that_talks_learns_what_nobody_knows_alone(
    ray_local: None, messages: ModuleType, tmp_path: Path
) -> None:
    """From the runner to the bundle whole worlds are read: each member says what it could only hear from the others."""
    values = {"evaluation.interval": 0, "runners.worlds": 64, "runners.rollout_length": 16}
    algorithm = algorithm_config(load(DOMAIN, ALGORITHM, values=values)).build_algo()
    try:
        for _ in range(40):
            algorithm.train()
        mapping = algorithm.config.policy_mapping()
        modules = {name: algorithm.env_runner.module[name] for name in mapping.modules}
        trained = algorithm.as_policy()
        env, steps = make(64), 4
        played = play(env, trained, env.tasks[0], seed=1)
        assert played.returns.mean() / steps > 0.98 > 0.78 > messages.ALONE
        export_bundle(tmp_path / "b", modules, mapping, name="team", domain=DOMAIN, env_config={})
        exported = play(make(64), load_bundle(tmp_path / "b", verify=True), env.tasks[0], seed=1)
        np.testing.assert_allclose(exported.returns, played.returns, rtol=1e-5)
    finally:
        algorithm.stop()


def test_a_bundle_plays_what_the_network_does(messages: ModuleType, tmp_path: Path) -> None:
    """Samples, too; it is tried with as many worlds as fit, and asks for who is alive."""
    modules, mapping = network(messages)
    manifest = export_bundle(tmp_path / "b", modules, mapping, name="team", domain=DOMAIN, env_config={})
    assert manifest.whole_worlds == ("shared",)
    assert tried(tmp_path / "b").name == "team"
    policy, env = load_bundle(tmp_path / "b"), make(5)
    assert policy.team_sizes == {"shared": 3}
    seen = env.reset(0)
    chosen = [
        each.act(seen, None, deterministic=False, rng=np.random.default_rng(1))[0]["members"]
        for each in (ModulePolicy(modules, mapping), policy)
    ]
    np.testing.assert_allclose(*chosen, rtol=1e-5)
    rows = np.zeros((4, 2), np.float32)
    with pytest.raises(
        ValueError, match=r"^alive: got None, allowed for module 'shared', which reads whole worlds of 3"
    ):
        policy.infer("shared", rows)
    with pytest.raises(
        ValueError, match=r"^alive: got shape \(4,\) beside 4 rows, allowed is one a row, for whole worlds"
    ):
        policy.infer("shared", rows, alive=np.ones(4, np.bool_))


@pytest.mark.parametrize("agents", [2, 4])
def test_a_team_of_another_size_is_refused(messages: ModuleType, agents: int) -> None:
    """Who reads whole worlds is bound to the number of agents that it was trained with."""
    policy = ModulePolicy(*network(messages))
    env = make(1)
    group = env.groups["members"]
    ids = tuple(f"m{index}" for index in range(agents))
    env.groups = {"members": type(group)("members", ids, group.action_space, group.layout)}
    with pytest.raises(ValueError, match=rf"^trained: got {agents} agents in group 'members', allowed is 3$"):
        policy.bind(env)


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ("worlds", r"^export: a world of shared alone, which must give what it gives among others"),
        ("absent", r"^export: agents of shared beside some who are not alive, whose rows must not matter"),
    ],
)
def test_what_must_not_be_heard_is_found_out(messages: ModuleType, tmp_path: Path, leak: str, said: str) -> None:
    """A network that hears other worlds, or those who are not there, is not exported."""
    modules, mapping = network(messages)
    modules["shared"].LEAKS = leak
    with pytest.raises(BundleError, match=said):
        export_bundle(tmp_path / "b", modules, mapping, name="team", domain=DOMAIN, env_config={})
    assert list(tmp_path.iterdir()) == []
