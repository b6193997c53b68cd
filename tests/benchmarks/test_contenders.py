"""Tests that the benchmarks measure what they say, at sizes that take no time."""

from __future__ import annotations

import pytest

from benchmarks.contender import Contender
from benchmarks.sampling import bars_of
from benchmarks.sampling_worker import batched_runner, env_alone, stock_runner


def test_both_runners_count_the_same_steps():
    """A rollout of 3 worlds, 5 steps and 2 agents is 30 agent-steps, whoever counts."""
    env_config = {"num_agents": 2}
    assert batched_runner(env_config, 3, 5, flat=True)() == 30
    assert env_alone(env_config, 3, 5)() == 30
    assert stock_runner(env_config, 3, 5)() == 30


def test_the_networks_compared_are_of_one_size():
    """Our flat network and RLlib's default have as many parameters for the same env."""
    from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
    from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    from algorithms.networks.config import NetworkConfig
    from algorithms.networks.module import module_spec
    from benchmarks.setups import flat_network, stock
    from envs.registry import get_domain

    [group] = get_domain("trading").env().groups.values()
    ours = module_spec(group, NetworkConfig(**flat_network())).build()
    config = stock("trading", {}, envs=1, env_steps=64)
    theirs = RLModuleSpec(
        module_class=DefaultPPOTorchRLModule,
        observation_space=group.observation_space,
        action_space=group.action_space,
        model_config=config.model_config,
        catalog_class=PPOCatalog,
    ).build()
    mine, reference = (sum(parameter.numel() for parameter in module.parameters()) for module in (ours, theirs))
    assert mine == reference


def test_a_contender_answers_and_reports_its_end():
    """It measures when asked; if it cannot start, its own last words are in the error."""
    options = {"kind": "env", "agents": 2, "seconds": 0.01, "worlds": 2, "steps": 4}
    with Contender("benchmarks.sampling_worker", options) as contender:
        assert contender.measure() > 0
        assert contender.peak_mib > 10
    with pytest.raises(RuntimeError, match="num_agents"):
        Contender("benchmarks.sampling_worker", {**options, "agents": 0})


def test_the_better_of_rllibs_runners_is_the_yardstick():
    """Round by round, whichever of the two was faster."""
    figures = {"ours, flat": [100.0, 100.0], "RLlib, 1 env": [5.0, 20.0], "RLlib, 16 envs": [10.0, 10.0]}
    peaks = {"ours, flat": 1.0, "RLlib, 16 envs": 2.0}
    first = bars_of(4, figures, peaks)[0]
    assert (first.low, first.high) == (5.0, 10.0)
    assert first.holds is False


def test_agreement_is_overlap_of_intervals():
    """Runs that end alike leave no gap; runs that end apart leave one, which does not hold."""
    from benchmarks.agreement import MENDED, OURS
    from benchmarks.agreement import bars_of as agreement

    alike = agreement("cue", {OURS: [[9.0], [10.0], [11.0]], MENDED: [[9.5], [10.5], [10.0]]})
    apart = agreement("cue", {OURS: [[9.0], [9.1], [9.2]], MENDED: [[5.0], [5.1], [5.2]]})
    assert alike[-1].value < 0
    assert alike[-1].holds
    assert apart[-1].value > 3
    assert not apart[-1].holds
