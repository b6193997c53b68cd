"""Learners of PPO with a runner beside them, for tests of what they are given in the place of rows."""

from __future__ import annotations

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from algorithms.learner import PPOLearner
from algorithms.ppo import PPOConfig
from algorithms.rollout import ACTS, Rollout
from algorithms.runner import BatchedEnvRunner


def learner_of(config: PPOConfig, *, moved: float = 0.0) -> tuple[PPOLearner, BatchedEnvRunner]:
    """A learner, and a runner with its weights.

    Args:
        config: Of both.
        moved: Deviation by which weights are moved from where they began.
    """
    runner = BatchedEnvRunner(config=config)
    learner = PPOLearner(config=config, module_spec=config.get_multi_rl_module_spec(spaces=runner.get_spaces()))
    learner.build()
    if moved:
        with torch.no_grad():
            for weight in learner.module["shared"].unwrapped().parameters():
                weight.add_(moved * torch.randn_like(weight))
    runner.set_state({"rl_module": learner.module.get_state()})
    return learner, runner


def who_does_not_count_teaches_nothing(config: PPOConfig, *, moved: float = 0.0) -> tuple[Rollout, float]:
    """Asserts that an update is the same to the bit, whatever stands in columns of those who do not count.

    Returns:
        What was sampled, and how many observations the normaliser took in.
    """
    weights = []
    for nonsense in (0.0, 1e3):
        torch.manual_seed(0)
        learner, runner = learner_of(config, moved=moved)
        rollout = runner.sample()
        rows = {name: column.copy() for name, column in rollout.batches["shared"].items()}
        for name in (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS, Columns.ACTION_LOGP, Columns.ACTIONS):
            rows[name][~rows[ACTS]] = nonsense
        learner.update(
            batch=MultiAgentBatch({"shared": SampleBatch(rows)}, env_steps=rollout.env_steps()),
            timesteps={"num_env_steps_sampled_lifetime": 56},
            num_epochs=2,
            minibatch_size=16,
        )
        weights.append(learner.module["shared"].get_state())
    for name, weight in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], weight)
    return rollout, float(weights[0]["normaliser.count"][0])
