"""Tests of the ParallelEnv, by PettingZoo's own test suite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
from pettingzoo.utils import parallel_to_aec

from envs.adapters.parallel import BatchedParallelEnv
from envs.registry import domain_names, get_domain


def _make(domain: str, mode: str) -> BatchedParallelEnv:
    found = get_domain(domain)
    config: dict[str, Any] = {"action_mode": mode}
    if "num_agents" in found.config_type.model_fields:
        config |= {"num_agents": 3}
    return BatchedParallelEnv(found.env(config, task={"max_steps": 20}), name=f"{domain}_v0")


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("domain", domain_names())
def test_pettingzoo_accepts_the_env(domain: str, mode: str) -> None:
    """PettingZoo's `parallel_api_test` passes, without a warning."""
    parallel_api_test(_make(domain, mode), num_cycles=60)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("domain", domain_names())
def test_pettingzoo_finds_the_seeding_right(domain: str, mode: str) -> None:
    """PettingZoo's `parallel_seed_test` passes: equally seeded envs do the same."""
    parallel_seed_test(lambda: _make(domain, mode), num_cycles=60)


@pytest.mark.filterwarnings("ignore:Agent's:UserWarning")
@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_agents_that_die_are_handled_as_pettingzoo_does(mode: str) -> None:
    """With agents terminating at different times, the env passes both as a ParallelEnv and converted to turns."""
    config, task = {"action_mode": mode, "num_agents": 3}, {"lifetimes": (2, 4, 0), "max_steps": 7}
    env = BatchedParallelEnv(get_domain("cue").env(config, task=task))
    parallel_api_test(env, num_cycles=60)
    api_test(parallel_to_aec(env), num_cycles=60)


def test_masks_are_what_spaces_sample_with() -> None:
    """A branch with one choice left is sampled as that choice; a masked dimension is named apart."""
    env = _make("cue", "discrete")
    _, infos = env.reset(seed=0)
    drawn = [env.action_space(a).sample(infos[a]["action_mask"]) for a in env.agents for _ in range(20)]
    assert not np.stack(drawn)[:, 2].any()  # out of play: the first choice only
    assert np.stack(drawn)[:, :2].any()
    env = _make("cue", "continuous")
    _, infos = env.reset(seed=0)
    np.testing.assert_array_equal(infos["repeater_0"]["dimension_mask"], [True, True, False])


def test_spaces_hold_what_is_seen() -> None:
    """Observations and the state lie in their spaces, and action spaces can be seeded apart."""
    env = _make("cue", "continuous")
    observations, _ = env.reset(seed=1)
    for agent, seen in observations.items():
        assert env.observation_space(agent).contains(seen)
    assert env.state_space.contains(env.state())
    samples = []
    for agent in env.possible_agents:
        env.action_space(agent).seed(3)
        samples.append(env.action_space(agent).sample())
    np.testing.assert_array_equal(samples[0], samples[1])
    assert env.metadata["name"] == "cue_v0"
    assert BatchedParallelEnv.metadata["name"] == "entrepot_v0"
