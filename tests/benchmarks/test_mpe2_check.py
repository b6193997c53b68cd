"""Tests of playing policies in mpe2's own env."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import mpe2_check
from benchmarks.mpe2_check import contestants, five, run, team_returns
from envs.particles import SpreadConfig, SpreadEnv, SpreadTask
from policies.base import Policy, RandomPolicy
from policies.heuristics.spread import Assignment
from policies.rollout import play


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("policy", [Assignment(), RandomPolicy()])
def test_a_policy_scores_the_same_there(policy: Policy, mode: str) -> None:
    """From the same places, and with the same randomness, every episode's return is the same."""
    config, task = SpreadConfig.model_validate({"action_mode": mode, "num_agents": 4}), SpreadTask(max_steps=15)
    theirs = team_returns(policy, config, task, episodes=6, seed=5)
    ours = play(SpreadEnv(config, 6), policy, task, seed=5).metrics["team_return"]
    assert ours.std() > 1
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_five_numbers_pull_as_two_do() -> None:
    """All are in [0, 1], and their differences, by mpe2's own order, are the forces."""
    forces = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2)).astype(np.float32)
    numbers = five(forces)
    assert numbers.min() >= 0
    assert numbers.max() <= 1
    np.testing.assert_array_equal(
        np.stack([numbers[..., 2] - numbers[..., 1], numbers[..., 4] - numbers[..., 3]], -1), forces
    )


def test_differences_and_paces_become_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference beyond a thousandth is a bar that does not hold; each size is set against mpe2's pace."""
    config = SpreadConfig(action_mode="discrete")
    monkeypatch.setattr(mpe2_check, "contestants", lambda folder: [("it", Assignment(), config)])
    true = mpe2_check.team_returns
    monkeypatch.setattr(mpe2_check, "team_returns", lambda *given, **more: true(*given, **more) + 0.01)
    monkeypatch.setattr(mpe2_check, "pace_of", lambda worlds, seconds: lambda: 300.0 * worlds)
    monkeypatch.setattr(mpe2_check, "pace_of_mpe2", lambda seconds: lambda: 100.0)
    result = run(episodes=3, sizes=(1, 128), repeats=1, progress=lambda line: None)
    bars = {bar.name: bar for bar in result.bars}
    apart = bars["it: largest difference of an episode"]
    assert apart.value == pytest.approx(0.01, abs=1e-4)
    assert apart.holds is False
    assert (bars["1 worlds: times mpe2"].value, bars["1 worlds: times mpe2"].holds) == (3.0, None)
    assert (bars["128 worlds: times mpe2"].value, bars["128 worlds: times mpe2"].holds) == (384.0, True)


def test_paces_are_measured() -> None:
    """Both count env-steps: one world of mpe2, and a batch of ours."""
    assert mpe2_check.pace_of_mpe2(0.02)() > 0
    assert mpe2_check.pace_of(8, 0.02)() > 0


def test_a_bundle_plays_as_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its env's config is the one it is played with; one of another domain is refused."""
    manifest: Any = SimpleNamespace(domain="spread", env_config={"num_agents": 5, "action_mode": "discrete"})
    bundle = SimpleNamespace(name="team", manifest=manifest)
    monkeypatch.setattr(mpe2_check, "load_bundle", lambda folder, verify: bundle)
    ((name, _, config),) = contestants("somewhere")
    assert (name, config) == ("team", SpreadConfig(num_agents=5, action_mode="discrete"))
    manifest.domain = "trading"
    with pytest.raises(ValueError, match="policy: got one of 'trading', allowed is one of 'spread'"):
        contestants("somewhere")
