"""Tests of SAC against what is soft-optimal, in closed form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from algorithms.sac.sac import SACConfig
from policies.decoding import branch_log_probs

sys.path.insert(0, str(Path(__file__).parents[2] / "toys"))
from bandit import CHOICES, GROUP

pytestmark = pytest.mark.usefixtures("ray_local")
TEMPERATURE = 0.5


def configure(**settings: Any) -> SACConfig:
    """One step, in which each of 21 choices pays what it is, from -1 to 1."""
    config = SACConfig().environment("bandit:DOMAIN", env_config={"action_mode": "discrete"})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=16, rollout_fragment_length=8)
    config.batched(network={"kind": "flat", "hidden_sizes": (32,)})
    config.training(lr=5e-3, gamma=0.0)
    config.learn_from, config.steps_per_update, config.batch, config.target_rate = 128, 4, 128, 0.1
    config.temperature, config.learn_temperature, config.standardise = TEMPERATURE, False, False
    for name, value in settings.items():
        setattr(config, name, value)
    return config


def log_probabilities(algorithm: Any) -> np.ndarray:
    """Of all choices, `[21]`."""
    module = algorithm.env_runner.module["shared"]
    with torch.no_grad():
        outputs = module.forward_policy({"obs": torch.zeros(CHOICES, 1)}).numpy()
    space = algorithm.env_runner.env.groups[GROUP].action_space
    return branch_log_probs(outputs, np.arange(CHOICES)[:, None], space)[:, 0]


def test_choices_are_as_likely_as_their_worth_says(build: Callable[[Any], Any]) -> None:
    """With its temperature fixed the policy becomes `exp(r / T)`, normalised (Haarnoja et al. 2017, theorem 1)."""
    algorithm = build(configure())
    for _ in range(30):
        algorithm.train()
    found = log_probabilities(algorithm)
    worth = np.linspace(-1, 1, CHOICES) / TEMPERATURE
    expected = worth - np.log(np.exp(worth).sum())
    divergence = float((np.exp(expected) * (expected - found)).sum())
    assert divergence < 0.02
    assert np.corrcoef(expected, found)[0, 1] > 0.98


def test_the_entropy_of_choices_comes_to_a_positive_target(build: Callable[[Any], Any]) -> None:
    """Half of the most there could be, log 21, from either side: the temperature does not fall for ever."""
    for first in (0.02, 2.0):
        settings = {"temperature": first, "learn_temperature": True, "target_share": 0.5, "steps_per_update": 2}
        algorithm = build(configure(**settings))
        for _ in range(30):
            result = algorithm.train()
        found = log_probabilities(algorithm)
        assert -(np.exp(found) * found).sum() == pytest.approx(0.5 * np.log(CHOICES), abs=0.3)
        assert result["learners"]["shared"]["temperature"] > 0.02
