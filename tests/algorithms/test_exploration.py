"""Tests of exploration that is not the policy's own draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from ray.rllib.core.columns import Columns

from algorithms.exploration import Correlated, falling, sampled
from algorithms.networks.distributions import MASKED_LOGIT, distribution_class
from algorithms.ppo import PPOConfig
from algorithms.qmix.qmix import QMIXConfig
from algorithms.runner import BatchedEnvRunner


class Drifting:
    """Noise that goes on from step to step, as Ornstein and Uhlenbeck's does."""

    noise: Any = 0.0

    def __call__(self, tried: Any, step: int, generator: torch.Generator) -> torch.Tensor:
        """The mean and what has drifted from it since the rollout began."""
        best = tried.mode()
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


def correlated(distribution: Any, correlation: float, steps: int) -> torch.Tensor:
    """What is tried in `steps` steps of one rollout, `[T, N, K]`."""
    explore, draws = Correlated(correlation), torch.Generator().manual_seed(0)
    return torch.stack([explore(distribution, step, draws) for step in range(steps)])


def test_correlated_noise_is_the_policys_own_in_each_step() -> None:
    """Of continuous actions: mean and deviation are the policy's at every step, and neighbours correlate as asked."""
    gaussian = distribution_class(Box(-1, 1, (2,)))(torch.tensor([[0.3, -0.5, -1.0, 0.2]]).expand(20_000, 4))
    tried = correlated(gaussian, 0.8, 4)
    for step in tried:
        torch.testing.assert_close(step.mean(dim=0), torch.tensor([0.3, -0.5]), atol=0.03, rtol=0)
        torch.testing.assert_close(step.std(dim=0), torch.tensor([-1.0, 0.2]).exp(), atol=0.03, rtol=0)
    for lag in (1, 2, 3):
        found = np.corrcoef(tried[0, :, 0].numpy(), tried[lag, :, 0].numpy())[0, 1]
        assert found == pytest.approx(0.8**lag, abs=0.03)


def test_correlated_choices_have_the_policys_chances() -> None:
    """Of choices: at every step as likely as the policy says, none that is masked, and more often the same again."""
    logits = torch.tensor([[0.0, 1.0, MASKED_LOGIT, 0.5, -0.5]]).expand(40_000, 5)
    branches = distribution_class(MultiDiscrete([3, 2]))(logits)
    tried = correlated(branches, 0.9, 3)
    for step in tried:
        for branch, size in enumerate((3, 2)):
            shares = torch.bincount(step[:, branch], minlength=size) / len(step)
            torch.testing.assert_close(shares, branches.log_probs[0, branch, :size].exp(), atol=0.01, rtol=0)
    again = (tried[0] == tried[1]).float().mean(dim=0)
    assert (again > branches.log_probs[0].exp().square().sum(dim=-1) + 0.1).all()


def test_a_rollout_begins_with_fresh_noise() -> None:
    """At step 0 nothing is left of the rollout before: what is tried depends on its seed alone."""
    gaussian = distribution_class(Box(-1, 1, (1,)))(torch.zeros(5, 2))
    explore = Correlated(0.9)
    first = [explore(gaussian, step, torch.Generator().manual_seed(step)) for step in range(3)]
    second = [explore(gaussian, step, torch.Generator().manual_seed(step)) for step in range(3)]
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_setting_makes_noise_correlated() -> None:
    """PPO with `noise_correlation` tries what is correlated, and its likelihoods are those of each step by itself."""
    config = PPOConfig()
    config.noise_correlation = 0.9
    found = rows(config)
    assert correlation(found) > 0.6
    mean, log_std = np.split(found[Columns.ACTION_DIST_INPUTS], 2, axis=1)
    apart = (found[Columns.ACTIONS] - mean) / np.exp(log_std)
    wanted = (-0.5 * apart**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    np.testing.assert_allclose(found[Columns.ACTION_LOGP], wanted, rtol=1e-4)


def test_any_choice_is_as_likely_as_epsilon_says() -> None:
    """QMIX tries what is worth most with `1 - e + e / n`, what else is allowed with `e / n`, the rest never."""
    config = QMIXConfig().environment("cue", env_config={"action_mode": "discrete"})
    config.validate()
    module = config.network_spec("shared").build()
    module.epsilon.fill_(0.3)
    sizes = module.action_space.nvec
    utilities = torch.zeros(1, int(sizes.sum()))
    utilities[0, 1], utilities[0, 2] = 5.0, MASKED_LOGIT
    tried = module.tried(utilities, None)
    chances = tried.log_probs.exp()[0, 0, : sizes[0]]
    allowed = int(sizes[0]) - 1
    wanted = torch.full((int(sizes[0]),), 0.3 / allowed)
    wanted[1], wanted[2] = 0.7 + 0.3 / allowed, 0.0
    torch.testing.assert_close(chances, wanted)


def test_the_largest_deviation_falls() -> None:
    """PPO's deviations are no larger than their schedule says, at first, on the way and in the end."""
    assert [falling((0.5, 0.1), 100, steps) for steps in (0, 50, 100, 1e9)] == pytest.approx([0.5, 0.3, 0.1, 0.1])
    config = (
        PPOConfig()
        .environment("cue", env_config={"num_agents": 2})
        .env_runners(num_envs_per_env_runner=8, rollout_fragment_length=15)
        .training(minibatch_size=30, num_epochs=1)
    )
    config.deviation, config.deviation_steps = (0.5, 0.1), 240
    algorithm = config.build_algo()
    try:
        for wanted in (0.5, 0.3, 0.1):
            network = algorithm.get_module("shared")
            seen = {Columns.OBS: torch.randn(3, network.layout.size)}
            deviations = network.forward_policy(seen).chunk(2, dim=1)[1].exp()
            assert deviations.max().item() == pytest.approx(wanted, rel=1e-3)
            algorithm.train()
    finally:
        algorithm.stop()
