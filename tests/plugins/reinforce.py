"""A throw-away algorithm with a collector, a learner and a section of settings of its own: REINFORCE.

Williams (1992), "Simple statistical gradient-following algorithms", with the batch's mean return as the baseline. It
learns from episodes that ended, and has no critic. Nobody knows it: tests find it by its address.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from algorithms.algorithm import BatchedAlgorithm
from algorithms.config import BatchedConfig
from algorithms.networks.distributions import distribution_class
from algorithms.networks.module import ActorCriticModule
from algorithms.networks.protocol import ACTION_MASK
from algorithms.registry import Algorithm
from algorithms.rollout import Columned
from algorithms.torch_settings import use_threads
from algorithms.trajectory import Trajectory


class ReinforceSettings(BaseModel):
    """REINFORCE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float = Field(gt=0, description="Learning rate of Adam.")
    gamma: float = Field(ge=0, le=1, description="Discount of a step.")


class ReturnsCollector:
    """Samples from the policy; hands over what was done in episodes that ended, and what was earned from there on."""

    def __init__(self, module: ActorCriticModule, trajectory: Trajectory, gamma: float) -> None:
        self.module, self.trajectory, self.gamma = module, trajectory, gamma

    def act(self, step: int, generator: torch.Generator) -> Any:
        """Samples."""
        return self.trajectory.act(step, self.module.forward_policy(self.trajectory.batch(step)), generator)

    def finish(self) -> Columned:
        """Rows of episodes that ended."""
        trajectory = self.trajectory
        earned = np.zeros_like(trajectory.rewards)
        running, known = np.zeros_like(earned[0]), np.zeros(earned.shape, np.bool_)
        over = np.zeros(trajectory.shape[1], np.bool_)
        for step in range(len(earned) - 1, -1, -1):
            over = over | trajectory.ended[step]
            running = np.where(trajectory.ended[step][:, None], 0, running) * self.gamma + trajectory.rewards[step]
            earned[step], known[step] = running, trajectory.acts[step] & over[:, None]
        return self.columns(earned, known)

    def columns(self, earned: Any, known: Any) -> Columned:
        """Of the agents that acted in them, `known` `[T, B, A]`."""
        trajectory = self.trajectory
        rows: Columned = {
            Columns.OBS: trajectory.observations[:-1][known],
            Columns.ACTIONS: trajectory.actions[known],
            "returns": earned[known].astype(np.float32),
        }
        return rows if trajectory.masks is None else rows | {ACTION_MASK: trajectory.masks[:-1][known]}


class ReinforceLearner(TorchLearner):
    """One step along the score function's gradient an update."""

    def build(self) -> None:
        """Builds networks and optimisers."""
        use_threads(self.config.torch_threads)
        super().build()

    def update(self, batch: Any = None, *, training_data: Any = None, **kwargs: Any) -> Any:
        """Learns from each module's rows once."""
        if training_data is not None:
            training_data.solve_refs()
            batch = training_data.batch
        for module_id, rows in batch.policy_batches.items():
            columns = {name: torch.as_tensor(np.array(column)) for name, column in rows.items()}
            network = self.module[module_id].unwrapped()
            optimizer = self.get_optimizer(module_id)
            out = {Columns.ACTION_DIST_INPUTS: network.forward_policy(columns)}
            loss = self.compute_loss_for_module(module_id=module_id, config=self.config, batch=columns, fwd_out=out)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            network.update_normaliser(columns[Columns.OBS])
            self.metrics.log_value((module_id, "total_loss"), loss.item(), window=1)
        return self.metrics.reduce()

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Any:
        """Minus what was earned above the mean, times how likely it was to be done."""
        kind = distribution_class(self.module[module_id].unwrapped().action_space)
        likely = kind(fwd_out[Columns.ACTION_DIST_INPUTS]).logp(batch[Columns.ACTIONS])
        returns = batch["returns"]
        return -((returns - returns.mean()) / (returns.std() + 1e-4) * likely).mean()


class ReinforceConfig(BatchedConfig):
    """Its RLlib configuration."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Reinforce)

    def get_default_learner_class(self) -> type:
        """Its learner."""
        return ReinforceLearner

    def collector(self, module: ActorCriticModule, trajectory: Trajectory) -> ReturnsCollector:
        """Rows with returns."""
        return ReturnsCollector(module, trajectory, self.gamma)


class Reinforce(BatchedAlgorithm):
    """The algorithm."""

    @classmethod
    def get_default_config(cls) -> ReinforceConfig:
        """Default settings."""
        return ReinforceConfig()

    def training_step(self) -> None:
        """Samples, learns, and sends the networks out."""
        rollouts = self.sample_runners()
        self.log_rollouts(rollouts)
        batches = {
            module: SampleBatch(
                {
                    name: np.concatenate([r.batches[module][name] for r in rollouts])
                    for name in rollouts[0].batches[module]
                }
            )
            for module in rollouts[0].batches
        }
        steps = sum(rollout.env_steps() for rollout in rollouts)
        results = self.learner_group.update(batch=MultiAgentBatch(batches, env_steps=steps))
        self.metrics.aggregate(results, key="learners")
        self.send_weights()
        self.rounds += 1


def configure(settings: ReinforceSettings) -> ReinforceConfig:
    """Its RLlib configuration from its section."""
    return ReinforceConfig().training(lr=settings.lr, gamma=settings.gamma)


ALGORITHM = Algorithm(
    "reinforce",
    "REINFORCE.",
    settings="reinforce:ReinforceSettings",
    configure="reinforce:configure",
    algorithm="reinforce:Reinforce",
    defaults=Path(__file__).with_name("reinforce.yaml"),
)
