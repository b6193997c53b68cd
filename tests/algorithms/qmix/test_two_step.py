"""Tests of QMIX on the two-step game, whose values were published."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from algorithms.qmix.qmix import QMIXConfig
from policies.rollout import play

sys.path.insert(0, str(Path(__file__).parents[2] / "toys"))
from two_step import PAYOFFS, TwoStepTask

pytestmark = pytest.mark.usefixtures("ray_local")
GAMMA = 0.99


def learned(build: Callable[[Any], Any], mixing: str) -> Any:
    """A team that only explored, as in the paper."""
    config = QMIXConfig().environment("two_step:DOMAIN")
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=16, rollout_fragment_length=4)
    network = {"kind": "flat", "hidden_sizes": (64,), "normalise": False, "policy_gain": 1.0}
    config.batched(policies="per_agent", network=network)
    config.training(lr=1e-3, gamma=GAMMA)
    config.mixing, config.mixing_width, config.epsilon, config.standardise = mixing, 8, (1.0, 1.0), False
    config.learn_from, config.steps_per_update, config.batch = 64, 4, 64
    config.target_rate, config.target_period, config.replay_frames = 0.0, 50, 4000
    algorithm = build(config)
    for _ in range(80):
        algorithm.train()
    return algorithm


def returned(algorithm: Any) -> float:
    """What the team gets when each does what it thinks best; agents get half of it each."""
    env = algorithm.domain.env({}, 1)
    return 2 * float(play(env, algorithm.as_policy(), TwoStepTask(), seed=0).returns.mean())


def test_qmix_learns_the_published_values_and_gets_8(build: Callable[[Any], Any]) -> None:
    """The team's values are those of Rashid et al. (2018), table 1(b), to 0.2: 6.93 and 7.92, then the payoffs."""
    algorithm = learned(build, "qmix")
    learner = algorithm.learner_group._learner
    states = torch.eye(3)
    with torch.no_grad():
        first, second = (learner.policy(agent).forward_raw({"obs": states}) for agent in learner.module_ids)
        units = torch.stack(torch.broadcast_tensors(first[:, :, None], second[:, None, :]), dim=-1)
        seen = learner.parts["states"](states).repeat_interleave(4, dim=0)
        values = learner.parts["mixer"](units.reshape(12, 2), seen).reshape(3, 2, 2).numpy()
    expected = PAYOFFS.copy()
    expected[0] = [[7 * GAMMA] * 2, [8 * GAMMA] * 2]
    np.testing.assert_allclose(values, expected, atol=0.2)
    assert returned(algorithm) == pytest.approx(8)


@pytest.mark.parametrize("mixing", ["vdn", "none"])
def test_sums_and_single_values_are_not_enough(build: Callable[[Any], Any], mixing: str) -> None:
    """VDN and independent learners play it safe: 7, as published."""
    assert returned(learned(build, mixing)) == pytest.approx(7)
