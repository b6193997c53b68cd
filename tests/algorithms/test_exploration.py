"""Tests of exploration that is not the policy's own draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns

from algorithms.exploration import sampled
from algorithms.networks.distributions import ActionDistribution
from algorithms.ppo import PPOConfig
from algorithms.runner import BatchedEnvRunner


class Drifting:
    """Noise that goes on from step to step, as Ornstein and Uhlenbeck's does."""

    noise: Any = 0.0

    def __call__(self, distribution: ActionDistribution, step: int, generator: torch.Generator) -> torch.Tensor:
        """The mean and what has drifted from it since the rollout began."""
        best = distribution.to_deterministic().logits
        drift = torch.randn(best.shape, generator=generator)
        self.noise = 0.1 * drift if step == 0 else 0.9 * self.noise + 0.1 * drift
        return best + self.noise


class DriftingConfig(PPOConfig):
    """PPO that explores in another way."""

    def exploration(self) -> Any:
        """One of its own for each collector."""
        return Drifting()


def rows(config: PPOConfig) -> Any:
    """What one rollout of the cue gives the learner."""
    config = (
        config.environment("cue", env_config={"num_agents": 2})
        .env_runners(num_envs_per_env_runner=64, rollout_fragment_length=12)
        .training(minibatch_size=2)
    )
    config.validate()
    return BatchedEnvRunner(config=config).sample(round=3).batches["shared"]


def correlation(found: Any) -> float:
    """How alike what was added to the mean is in one step and the next, in entities that are in play."""
    mean = found[Columns.ACTION_DIST_INPUTS][:, :3]
    noise = (found[Columns.ACTIONS] - mean).reshape(12, 128, 3)[:, :, :2]
    return float(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1])


def test_noise_may_go_on_from_step_to_step() -> None:
    """What is tried is what the exploration says, likelihoods are the policy's, and the same seed gives the same."""
    drifting = rows(DriftingConfig())
    assert correlation(drifting) > 0.6
    assert abs(correlation(rows(PPOConfig()))) < 0.1
    again = rows(DriftingConfig())
    for name, column in drifting.items():
        np.testing.assert_array_equal(column, again[name])
    mean, log_std = np.split(drifting[Columns.ACTION_DIST_INPUTS], 2, axis=1)
    apart = (drifting[Columns.ACTIONS] - mean) / np.exp(log_std)
    wanted = (-0.5 * apart**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    np.testing.assert_allclose(drifting[Columns.ACTION_LOGP], wanted, rtol=1e-4)


def test_by_default_the_policy_draws() -> None:
    """What PPO tries is what its own distribution gives."""
    assert PPOConfig().exploration() is sampled
