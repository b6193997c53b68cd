"""Learning by slopes: where an env can say how the team's return changes with every action, that is all it takes.

A policy gradient by likelihood ratios, as PPO's, has to find out from noisy returns whose action it was that helped. An
env whose transitions have derivatives (`envs.base.Differentiable`) answers that exactly: with the slope
`g = dJ / da` of the return to each action, the gradient of the return to the parameters is the sum of
`g dmu / dtheta` over all actions `mu(o; theta)` (Silver et al. 2014, theorem 1, with the true slope in the place of a
critic's; Heess et al. 2015, section 3; for inventories Glasserman and Tayur 1995, Alvo et al. 2023). What others do
later in response to the change is left out: an env's actions should be such that this hardly matters, as base-stock
levels are.

Slopes are taken where the policy tries something, a little beside its mean: that smooths the kinks that costs have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from torch import Tensor

from algorithms.adam import AdamLearner
from algorithms.algorithm import BatchedAlgorithm
from algorithms.config import BatchedConfig, at_least
from algorithms.exploration import Exploration
from algorithms.networks.module import ActorCriticModule
from algorithms.networks.protocol import ACTION_MASK, PolicyNetwork
from algorithms.pathwise_settings import PathwiseSettings
from algorithms.rollout import Columned, joined
from algorithms.seeds import Use, generator
from algorithms.trajectory import Trajectory

SLOPES = "slopes"


class SlopesCollector:
    """Samples from the policy; hands over what was seen and the slope of every action.

    Args:
        module: The network.
        trajectory: What the runner writes to.
        explore: How what is tried departs from the policy.
    """

    def __init__(self, module: ActorCriticModule, trajectory: Trajectory, explore: Exploration) -> None:
        self.module, self.trajectory, self.explore = module, trajectory, explore

    def act(self, step: int, generator: torch.Generator) -> Any:
        """Chooses the actions of a step."""
        inputs = self.module.forward_policy(self.trajectory.batch(step))
        return self.trajectory.act(step, inputs, generator, self.explore)

    def finish(self) -> Columned:
        """Rows of those who acted: `obs`, `slopes` `[N, K]`, and `action_mask` where there is one."""
        trajectory = self.trajectory
        assert trajectory.slopes is not None
        acted = trajectory.acts[:-1]
        rows: Columned = {Columns.OBS: trajectory.observations[:-1][acted], SLOPES: trajectory.slopes[acted]}
        return rows if trajectory.masks is None else rows | {ACTION_MASK: trajectory.masks[:-1][acted]}


class PathwiseLearner(AdamLearner):
    """Follows the slopes, minibatch by minibatch."""

    def update(self, batch: Any = None, *, training_data: Any = None, round: int = 0, **kwargs: Any) -> Any:
        """Runs the epochs over a batch, then takes its observations into the normalisers.

        Args:
            batch: Rows by module: `obs`, `slopes`, and `action_mask` where there is one.
            training_data: The batch as a learner group passes it.
            round: Number of the rollout; keys the shuffling.
            **kwargs: Ignored; RLlib may pass more.
        """
        self._check_is_built()
        if training_data is not None:
            training_data.solve_refs()
            batch = training_data.batch
        self._weights_seq_no += 1
        for place, module_id in enumerate(sorted(batch.policy_batches)):
            columns = {
                name: torch.as_tensor(np.array(column)).to(self._device)
                for name, column in batch.policy_batches[module_id].items()
            }
            if not len(columns[Columns.OBS]):
                continue
            self._learn(module_id, columns, (round, place))
            self.module[module_id].unwrapped().update_normaliser(columns[Columns.OBS])
        self._log_steps_trained_metrics(batch)
        return self.metrics.reduce()

    def _learn(self, module_id: str, columns: dict[str, Tensor], key: tuple[int, int]) -> None:
        """Learns from one module's rows."""
        config, optimizer = self.config, self.get_optimizer(module_id)
        parameters = self._optimizer_parameters[optimizer]
        # Steps that shrink as 1 / t find the place where slopes cancel out (Robbins and Monro 1951).
        optimizer.param_groups[0]["lr"] = config.lr / (1 + (key[0] / config.half if config.half else 0))
        columns[SLOPES] = scaled(columns[SLOPES], config.slope_clip)
        rows = len(columns[Columns.OBS])
        minibatches = max(1, round(rows / config.minibatch_size))
        losses, norms = [], []
        for epoch in range(config.num_epochs):
            order = torch.randperm(rows, generator=generator(Use.MINIBATCHES, config.seed, *key, epoch))
            for part in order.to(self._device).tensor_split(minibatches):
                minibatch = {name: column[part] for name, column in columns.items()}
                inputs = self.module[module_id].unwrapped().forward_policy(minibatch)
                loss = self.compute_loss_for_module(
                    module_id=module_id,
                    config=config,
                    batch=minibatch,
                    fwd_out={Columns.ACTION_DIST_INPUTS: inputs},
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(
                    [p for p in parameters if p.grad is not None], config.grad_clip or float("inf")
                )
                optimizer.step()
                losses.append(loss.detach())
                norms.append(norm)
        self.metrics.log_value((module_id, "total_loss"), torch.stack(losses).mean().item(), window=1)
        self.metrics.log_value((module_id, "gradient_norm"), torch.stack(norms).mean().item(), window=1)

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Tensor:
        """Minus what the return gains by the means, to first order.

        A mean that is out of bounds already is not pulled further out.
        """
        means = fwd_out[Columns.ACTION_DIST_INPUTS].chunk(2, dim=-1)[0]
        slopes = batch[SLOPES]
        outwards = (means.detach().abs() >= 1) & (means.detach().sign() == slopes.sign())
        return -(torch.where(outwards, 0.0, slopes) * means).sum(dim=-1).mean()


def scaled(slopes: Tensor, clip: float | None) -> Tensor:
    """Slopes in units of their root mean square, no larger than `clip`: step sizes mean the same in all envs."""
    unit = slopes / slopes.square().mean().sqrt().clamp(min=1e-12)
    return unit if clip is None else unit.clamp(-clip, clip)


class PathwiseConfig(BatchedConfig):
    """Its RLlib configuration."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Pathwise)
        self.slope_clip: float | None = None
        self.half: float | None = None
        self.num_epochs = 1
        self.minibatch_size = 4096

    def get_default_learner_class(self) -> type[Learner]:
        """Its learner."""
        return PathwiseLearner

    def collector(self, module: PolicyNetwork, trajectory: Trajectory) -> SlopesCollector:
        """Rows with slopes."""
        assert isinstance(module, ActorCriticModule)
        return SlopesCollector(module, trajectory, self.exploration())

    def reads_slopes(self) -> bool:
        """It does."""
        return True

    def validate(self) -> None:
        """Checks all settings.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if self._validate_config:
            at_least(1, num_epochs=self.num_epochs, minibatch_size=self.minibatch_size)
        super().validate()


class Pathwise(BatchedAlgorithm):
    """The algorithm."""

    @classmethod
    def get_default_config(cls) -> PathwiseConfig:
        """Default settings."""
        return PathwiseConfig()

    def training_step(self) -> None:
        """Samples with all runners that are there, learns from it, and sends the new networks out."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts = self.sample_runners()
        self.log_rollouts(rollouts)
        batches = {module_id: SampleBatch(joined(rollouts, module_id)) for module_id in rollouts[0].batches}
        batch = MultiAgentBatch(batches, env_steps=sum(rollout.env_steps() for rollout in rollouts))
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            self.metrics.aggregate(self.learner_group.update(batch=batch, round=self.rounds), key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.send_weights()
        self.rounds += 1


def configure(settings: PathwiseSettings) -> PathwiseConfig:
    """Its configuration from its section of an experiment's."""
    config = PathwiseConfig().training(lr=settings.lr, grad_clip=settings.grad_clip)
    config.num_epochs, config.minibatch_size = settings.epochs, settings.minibatch
    config.slope_clip, config.half = settings.slope_clip, settings.half
    return config
