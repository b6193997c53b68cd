"""PPO's update: the loss, and a minibatch loop without anything in it that does not learn."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_KL_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from algorithms.adam import AdamLearner
from algorithms.costs import TARGETS
from algorithms.exploration import falling
from algorithms.networks.distributions import distribution_class
from algorithms.networks.module import ActorCriticModule
from algorithms.networks.protocol import ACTION_MASK, ALIVE, BEGINS, MEMORY, STATE
from algorithms.rollout import ACTS, acted, counted
from algorithms.seeds import Use, generator
from algorithms.torch_settings import matmul_precision

KL_COEFFICIENTS = "kl_coefficients"
GRADIENT_NORM_KEY = "gradient_norm"
SKIPPED_STEPS_KEY = "skipped_steps"
"""Steps of an update that were left out, because their gradient was not finite."""
TOTAL_LOSS_KEY = "total_loss"
VALUES, COST_VALUES = Columns.VF_PREDS, "cost_values"
READ = (Columns.OBS, ACTION_MASK, STATE, ALIVE, BEGINS, MEMORY)
"""Columns that networks read, and losses do not."""
STATISTICS = (TOTAL_LOSS_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY, ENTROPY_KEY, LEARNER_RESULTS_KL_KEY, GRADIENT_NORM_KEY)


class PPOLearner(AdamLearner, PPOTorchLearner):
    """RLlib's PPO learner with a loop of its own.

    RLlib's minibatch iterator and its metrics, logged at every minibatch, cost up to a third of an update. Here every
    module's rows are shuffled once an epoch, cut into minibatches whose sizes differ by one row at most, and
    statistics are kept as tensors until the end. Where agents need each other, rows are whole worlds, and where they
    remember, sequences; losses are means over the agents and steps in them that count.
    """

    def build(self) -> None:
        """Builds networks and optimisers."""
        self._statistics: dict[str, Tensor] = {}
        super().build()
        self._limit_deviations(0.0)

    # -- the update ------------------------------------------------------------------------------------------------

    def update(
        self,
        batch: MultiAgentBatch | None = None,
        *,
        training_data: TrainingData | None = None,
        timesteps: Mapping[str, Any] | None = None,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = True,
        round: int = 0,
        **kwargs: Any,
    ) -> Any:
        """Runs `num_epochs` epochs over a batch, then takes its observations into the normalisers.

        Args:
            batch: Rows by module: `obs`, `actions`, `action_logp`, `action_dist_inputs`, `advantages`, `value_targets`,
                and `action_mask` and `state` where the network reads them; of each cost that it foresees, the targets.
                Where it reads whole worlds, or remembers, worlds or sequences are in the place of rows, with `alive`,
                and `acts`: who counts; sequences with `begins` and `memory` as well.
            training_data: The batch as a learner group passes it.
            timesteps: Steps sampled so far, for schedules.
            num_epochs: Passes over the batch.
            minibatch_size: Agent-steps of a minibatch, roughly: minibatches have even numbers of rows, of worlds or of
                sequences; None: all.
            shuffle_batch_per_epoch: Whether rows are shuffled before each epoch.
            round: Number of the rollout; keys the shuffling.
            **kwargs: Ignored; RLlib may pass more.

        Returns:
            The metrics.
        """
        self._check_is_built()
        if training_data is not None:
            training_data.solve_refs()
            batch = training_data.batch
        if batch is None:
            raise ValueError("batch: got None, allowed is a MultiAgentBatch")
        timesteps = dict(timesteps or {})
        self.before_gradient_based_update(timesteps=timesteps)
        self._weights_seq_no += 1
        for place, module_id in enumerate(sorted(batch.policy_batches)):
            if not self.should_module_be_updated(module_id, batch):
                continue
            columns = {name: self._tensor(column) for name, column in batch.policy_batches[module_id].items()}
            if not len(columns[Columns.OBS]):
                continue
            network = self._network(module_id)
            network.value_head.update(counted(columns, Postprocessing.VALUE_TARGETS))
            for name, head in network.heads_of_costs().items():
                head.update(counted(columns, TARGETS + name))
            with matmul_precision(self.config.matmul_precision):
                statistics, skipped = self._learn(
                    module_id, columns, num_epochs, minibatch_size, shuffle_batch_per_epoch, (round, place)
                )
            for name, value in zip(STATISTICS, statistics, strict=True):
                self.metrics.log_value((module_id, name), value, window=1)
            self.metrics.log_value((module_id, SKIPPED_STEPS_KEY), skipped, window=1)
            seen = columns[Columns.OBS]
            network.update_normaliser(seen[columns[ALIVE]] if ALIVE in columns else seen, columns.get(STATE))
        self._log_steps_trained_metrics(batch)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Brings the entropy coefficient to where its schedule is, also in a run that was just resumed."""
        super().before_gradient_based_update(timesteps=timesteps)
        for module_id in self.module.keys():  # noqa: SIM118, it is not a dict
            self.entropy_coeff_schedulers_per_module[module_id].update(
                timestep=timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
            )

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Brings the largest deviation to where it is to be while the next rollout is sampled, and learned from."""
        super().after_gradient_based_update(timesteps=timesteps)
        self._limit_deviations(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))

    def _limit_deviations(self, steps: float) -> None:
        if self.config.deviation is not None:
            for module_id in self.module.keys():  # noqa: SIM118, it is not a dict
                most = falling(self.config.deviation, self.config.deviation_steps, steps)
                self._network(module_id).limit_deviation(most)

    def _learn(
        self,
        module_id: str,
        columns: dict[str, Tensor],
        num_epochs: int,
        minibatch_size: int | None,
        shuffle: bool,
        key: tuple[int, int],
    ) -> tuple[list[float], int]:
        """Learns from one module's rows; returns the means of the last epoch's statistics, and the steps left out."""
        config = self.config.get_config_for_module(module_id)
        optimizer = self.get_optimizer(module_id)
        parameters = self._optimizer_parameters[optimizer]
        rows = len(columns[Columns.OBS])
        minibatches = min(rows, max(1, round(acted(columns) / minibatch_size))) if minibatch_size else 1
        bounds = np.linspace(0, rows, minibatches + 1).round().astype(int).tolist()
        totals: list[Tensor] = []
        skipped = 0
        for epoch in range(num_epochs):
            shuffled = columns
            if shuffle and minibatches > 1:
                draws = generator(Use.MINIBATCHES, self.config.seed, *key, epoch)
                order = torch.randperm(rows, generator=draws).to(self._device)
                shuffled = {name: column[order] for name, column in columns.items()}
            totals = []
            for start, stop in pairwise(bounds):
                minibatch = {name: column[start:stop] for name, column in shuffled.items()}
                minibatch, outputs = _counted(minibatch, self._network(module_id).forward_policy_and_values(minibatch))
                loss = self.compute_loss_for_module(
                    module_id=module_id, config=config, batch=minibatch, fwd_out=outputs
                )
                for parameter in parameters:  # what `zero_grad` does, without its profiling hooks
                    parameter.grad = None
                loss.backward()
                norm = _clip(parameters, config.grad_clip, config.grad_clip_by)
                if torch.isfinite(norm):
                    optimizer.step()
                else:
                    skipped += 1
                self._statistics[GRADIENT_NORM_KEY] = norm
                totals.append(torch.stack([self._statistics[name] for name in STATISTICS]))
        means: list[float] = torch.stack(totals).mean(dim=0).tolist()
        return means, skipped

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """PPO's clipped surrogate, critic, entropy and adaptive KL terms (Schulman et al. 2017, sections 3 to 5).

        Args:
            module_id: The module.
            config: Its settings.
            batch: A minibatch of its rows.
            fwd_out: What the network put out for it: distribution inputs, values, and a list of those of costs.

        Returns:
            The loss to minimise.
        """
        network = self._network(module_id)
        distribution = distribution_class(network.action_space)
        now = distribution(fwd_out[Columns.ACTION_DIST_INPUTS])
        then = distribution(batch[Columns.ACTION_DIST_INPUTS])
        ratio = torch.exp(now.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP])
        estimates = batch[Postprocessing.ADVANTAGES]
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        policy_loss = -torch.minimum(estimates * ratio, estimates * clipped).mean()
        error = (fwd_out[VALUES] - batch[Postprocessing.VALUE_TARGETS]) ** 2
        critic_loss = error.clamp(max=config.vf_clip_param).mean()
        entropy = now.entropy().mean()
        coefficient = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        weight = config.vf_loss_coeff / network.value_head.scale.square()  # the loss of standardised values
        loss = policy_loss + weight * critic_loss - coefficient * entropy
        for (name, head), foreseen in zip(network.heads_of_costs().items(), fwd_out.get(COST_VALUES, ()), strict=True):
            missed = (foreseen - batch[TARGETS + name]).square().mean()
            loss = loss + config.vf_loss_coeff / head.scale.square() * missed
        if config.use_kl_loss:
            divergence = then.kl(now).mean()
            loss = loss + self.curr_kl_coeffs_per_module[module_id] * divergence
        else:
            with torch.no_grad():
                divergence = then.kl(now).mean()
        figures = (loss, policy_loss, critic_loss, entropy, divergence)
        self._statistics = {name: figure.detach() for name, figure in zip(STATISTICS, figures, strict=False)}
        return loss

    def _network(self, module_id: str) -> ActorCriticModule:
        network = self.module[module_id].unwrapped()
        assert isinstance(network, ActorCriticModule)
        return network

    def _tensor(self, column: NDArray[Any] | Tensor) -> Tensor:
        """A column on the learner's device; arrays that came through Ray are read-only, which torch does not know."""
        if isinstance(column, np.ndarray) and not column.flags.writeable:
            column = column.copy()
        return torch.as_tensor(column).to(self._device)

    # -- state -----------------------------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's state, and the KL coefficients, which it leaves out."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(KL_COEFFICIENTS, components, not_components):
            state[KL_COEFFICIENTS] = {
                module_id: float(self.curr_kl_coeffs_per_module[module_id])
                for module_id in self.module.keys()  # noqa: SIM118, it is not a dict
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, also into a learner that has got further than that."""
        self._weights_seq_no = 0  # else RLlib leaves weights alone that are older than those it has
        super().set_state(state)
        for module_id, value in state.get(KL_COEFFICIENTS, {}).items():
            self.curr_kl_coeffs_per_module[module_id].data.fill_(value)

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        """Restores the optimizers from a copy: torch would go on in the very arrays that it is given."""
        super()._set_optimizer_state(copy.deepcopy(state))

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """What a module must be able to do."""
        return [ValueFunctionAPI]


def _counted(
    batch: dict[str, Tensor], outputs: tuple[Tensor, list[Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A minibatch and the network's outputs for it as the loss takes them: rows, of the agents that count alone."""
    dist_inputs, (values, *of_costs) = outputs
    if ACTS in batch:
        acts = batch[ACTS]
        dist_inputs, values, of_costs = dist_inputs[acts], values[acts], [each[acts] for each in of_costs]
        batch = {name: column[acts] for name, column in batch.items() if name not in (*READ, ACTS)}
    return batch, {Columns.ACTION_DIST_INPUTS: dist_inputs, VALUES: values, COST_VALUES: of_costs}


def _clip(parameters: list[Tensor], bound: float | None, by: str) -> Tensor:
    """Clips gradients as RLlib's `grad_clip` and `grad_clip_by` say; returns their global norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if bound is None:
        return norm
    if by == "global_norm":
        torch.nn.utils.clip_grads_with_norm_(parameters, bound, norm)
    elif by == "norm":
        for gradient in gradients:
            gradient.mul_((bound / (gradient.norm() + 1e-6)).clamp(max=1.0))
    else:
        torch.nn.utils.clip_grad_value_(parameters, bound)
    return norm
