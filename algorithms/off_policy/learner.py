"""The loop that learners from the past share: minibatch by minibatch, targets that follow, nothing else between.

Beside the policies, which are RLlib's modules and what is sampled with, exported and served, a learner has *parts* of
its own: critics, mixers, temperatures, and the targets of all. They never leave it but for checkpoints.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor, nn

from algorithms.adam import AdamLearner
from algorithms.networks.normaliser import StateNormaliser
from algorithms.networks.policy_module import PolicyModule
from algorithms.networks.protocol import MEMORY
from algorithms.off_policy.columns import (
    ALIVE,
    BEGINS,
    COUNTS,
    ENDS,
    MASK,
    NEXT,
    OBS,
    REWARDS,
    SEQUENCE,
    STARTS,
    STATE,
    WEIGHTS,
)
from algorithms.torch_settings import matmul_precision

PARTS, REWARDS_SEEN = "parts", "rewards_seen"
TARGET = "target_"
RATE = 0.01
"""Share of the newest minibatch in the running means of rewards."""
SHORTEST = 0.01
"""Horizons are not looked at beyond a hundred transitions: where nothing is discounted there is no level for ever."""
Rows = Mapping[str, Tensor]
"""A minibatch of one module, `[N, A, …]`, by column."""


class OffPolicyLearner(AdamLearner):
    """Learns from transitions of whole worlds, all modules together.

    Attributes:
        parts: What is not a policy, by name, targets included.
        followed: What has a target, by name.
        reward_square, reward_mean: Running means of the rewards' squares, and of the rewards.
        wrong: By how much the values of the last update's rows were wrong, `[N]`, mean over those that count.
        errors: The same of all rows of the last call, `[U * N]`.
    """

    # -- construction ----------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> None:
        """Makes the parts and the targets, with the policies at hand, and the optimisers, whose state is saved."""
        self.parts = nn.ModuleDict()
        self.reward_square = self.reward_mean = 0.0
        self.wrong = torch.zeros(0)
        self.errors: NDArray[np.float32] = np.zeros(0, np.float32)
        states = self.config.state_size if self.config.reads_state() else 0
        if states:
            self.parts["states"] = StateNormaliser(states, self.config.network_config().clip)
        self.make_parts()
        self.followed = dict(self.make_followed())
        for name, module in self.followed.items():
            target = copy.deepcopy(module).requires_grad_(False)
            if isinstance(target, PolicyModule) and isinstance(module, PolicyModule):
                target.normaliser = module.normaliser  # what is seen has one scale
            self.parts[TARGET + name] = target
        self.parts.to(self.device)
        for name, parameters in self.make_optimised().items():
            optimizer = torch.optim.Adam(parameters, fused=True)
            self.register_optimizer(
                module_id=ALL_MODULES,
                optimizer_name=name,
                optimizer=optimizer,
                params=parameters,
                lr_or_lr_schedule=self.config.lr,
            )
        self.schedule(0.0)

    @abstractmethod
    def make_parts(self) -> None:
        """Fills `parts` with what there is beside the policies."""

    @abstractmethod
    def make_followed(self) -> dict[str, nn.Module]:
        """Policies and parts that get targets, by name."""

    @abstractmethod
    def make_optimised(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by the name of its optimiser."""

    def target(self, name: str) -> Any:
        """The target of what is followed under a name."""
        return self.parts[TARGET + name]

    def policy(self, module_id: str) -> PolicyModule:
        """A module's network."""
        policy: PolicyModule = self.module[module_id].unwrapped()
        return policy

    @property
    def module_ids(self) -> list[str]:
        """The policies, in the order in which their agents stand in joint inputs."""
        return sorted(self.module.keys())

    # -- the update ------------------------------------------------------------------------------------------------

    def update(
        self,
        batch: Any = None,
        *,
        training_data: Any = None,
        timesteps: Mapping[str, Any] | None = None,
        first_update: int = 0,
        **kwargs: Any,
    ) -> Any:
        """Makes an update of each minibatch, in order.

        Args:
            batch: By module, transitions `[U, N, A, …]` of `U` updates.
            training_data: The batch as a learner group passes it.
            timesteps: Steps sampled so far, for schedules.
            first_update: Updates before these; keys randomness and the copying of targets.
            **kwargs: Ignored; RLlib may pass more.

        Returns:
            The metrics.
        """
        self._check_is_built()
        if training_data is not None:
            training_data.solve_refs()
            batch = training_data.batch
        self._weights_seq_no += 1
        columns = {
            module: {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in rows.items()}
            for module, rows in batch.policy_batches.items()
        }
        self.schedule(float((timesteps or {}).get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)))
        self._observe(columns)
        statistics: list[dict[str, Tensor]] = []
        wrong: list[Tensor] = []
        with matmul_precision(self.config.matmul_precision):
            for index in range(len(next(iter(columns.values()))[REWARDS])):
                rows = {
                    module: {name: array[index].to(self.device) for name, array in each.items()}
                    for module, each in columns.items()
                }
                statistics.append(self.learn(self._scaled(rows), first_update + index))
                wrong.append(self.wrong)
                self._follow(first_update + index + 1)
        self.errors = torch.cat(wrong).cpu().numpy()
        for name in statistics[0]:
            mean = torch.stack([each[name] for each in statistics]).mean().item()
            self.metrics.log_value((self.module_ids[0], name), mean, window=1)
        self._log_steps_trained_metrics(batch)
        return self.metrics.reduce()

    @abstractmethod
    def learn(self, rows: Mapping[str, Rows], update: int) -> dict[str, Tensor]:
        """One update.

        Args:
            rows: By module, transitions `[N, A, …]`.
            update: Its number, which keys randomness.

        Returns:
            Statistics, scalars without gradients; always the same ones.
        """

    def compute_loss_for_module(self, **kwargs: Any) -> Tensor:
        """Never called: losses are of all modules together, and `learn` has them."""
        raise AssertionError("losses are joint")

    def schedule(self, steps: float) -> None:
        """Brings what changes over time to where it is after so many steps; nothing, unless an algorithm says so."""

    def step(self, name: str, loss: Tensor) -> Tensor:
        """One step of an optimiser down a loss, with its parameters alone; returns the gradient's norm."""
        optimizer = self.get_optimizer(ALL_MODULES, name)
        parameters: list[nn.Parameter] = optimizer.param_groups[0]["params"]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        limit = self.config.grad_clip if self.config.grad_clip is not None else float("inf")
        norm = torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], limit)
        if torch.isfinite(norm):
            optimizer.step()
        return norm.detach()

    @torch.no_grad()
    def _observe(self, columns: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes the first of the minibatches into the statistics of what is seen, and of rewards."""
        earned: list[Tensor] = []
        for module, each in columns.items():
            first = {name: array[0] for name, array in each.items()}
            self.policy(module).update_normaliser(first[OBS][first[ALIVE]])
            earned.append(first[REWARDS][first[ALIVE]].double())
            if "states" in self.parts and module == self.module_ids[0]:
                normaliser = self.parts["states"]
                assert isinstance(normaliser, StateNormaliser)
                there = first.get(COUNTS, slice(None))  # of sequences, what lies in rows that do not count is anything
                normaliser.merge(normaliser.sample_moments(first[STATE][there]))
        rewards, rate = torch.cat(earned), RATE if self.reward_square else 1.0
        if len(rewards):
            self.reward_square += rate * (float(rewards.square().mean()) - self.reward_square)
            self.reward_mean += rate * (float(rewards.mean()) - self.reward_mean)

    def _scaled(self, rows: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Rewards in units of their root mean square: step sizes and noise mean the same in all envs."""
        if self.config.standardise:
            for each in rows.values():
                each[REWARDS] = each[REWARDS] / self._unit
        return rows

    @property
    def _unit(self) -> float:
        return max(math.sqrt(self.reward_square), 1e-8)

    @property
    def level(self) -> float:
        """What values are counted from: the mean reward, for ever; 0 where nothing is standardised."""
        if not self.config.standardise:
            return 0.0
        return self.reward_mean / self._unit / max(1 - self.config.gamma**self.config.n_step, SHORTEST)

    @torch.no_grad()
    def _follow(self, updates: int) -> None:
        """Brings targets nearer, or, every so often, all the way."""
        rate, period = self.config.target_rate, self.config.target_period
        if not rate and updates % period:
            return
        for name, module in self.followed.items():
            torch._foreach_lerp_(list(self.target(name).parameters()), list(module.parameters()), rate or 1.0)

    # -- what losses are made of -----------------------------------------------------------------------------------

    def seen(self, module_id: str, rows: Rows, *, following: bool = False) -> Tensor:
        """Normalised observations `[N * A, D]`, of now or of where transitions end."""
        observations = rows[NEXT + OBS if following else OBS].flatten(0, 1)
        normaliser = self.policy(module_id).normaliser
        with torch.no_grad():
            return observations if normaliser is None else normaliser(observations)

    @staticmethod
    def outputs(policy: PolicyModule, rows: Rows, *, following: bool = False) -> tuple[Tensor, Tensor | None]:
        """What a policy, or its target, puts out before it is squashed, `[N * A, P]`, and masks, where there are any.

        Args:
            policy: The network.
            rows: Transitions of its agents.
            following: Whether it is asked where they end.

        A policy that remembers is unrolled over the sequences that they belong to, with gradients through all of them;
        its outputs know what was masked.
        """
        if policy.memory_size:
            return unrolled(policy, rows, rows[ENDS if following else STARTS]), None
        prefix = NEXT if following else ""
        batch = {name: rows[prefix + name].flatten(0, 1) for name in (OBS, MASK) if prefix + name in rows}
        return policy.forward_raw(batch), batch.get(MASK)

    def states(self, rows: Mapping[str, Rows], *, following: bool = False) -> Tensor:
        """Normalised global states `[N, S]`, of now or of where transitions end."""
        with torch.no_grad():
            normalised: Tensor = self.parts["states"](rows[self.module_ids[0]][NEXT + STATE if following else STATE])
            return normalised

    def targets(self, rewards: Tensor, discounts: Tensor, values: Tensor, agents: int = 1) -> Tensor:
        """What values should be: `r + discount (v + level) - level`, and nothing beyond an end, whose discount is 0.

        With values counted from a level `c`, what is learned is how states and actions differ; were it 0, critics would
        first have to learn what all have in common, step by step through their targets. Any level is right.

        Args:
            rewards: Of transitions, of any shape.
            discounts: What their ends count.
            values: Of where they end, counted from the level.
            agents: Whose rewards are added up.
        """
        level = self.level * agents
        return rewards + torch.where(discounts > 0, discounts * (values + level), 0.0) - level

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and the parts."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if components is None:
            state[PARTS] = {name: tensor.cpu().numpy().copy() for name, tensor in self.parts.state_dict().items()}
            state[REWARDS_SEEN] = (self.reward_square, self.reward_mean)
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned."""
        super().set_state(state)
        if PARTS in state:
            parts = {name: torch.as_tensor(np.asarray(array)) for name, array in state[PARTS].items()}
            self.parts.load_state_dict(parts)
            self.reward_square, self.reward_mean = state[REWARDS_SEEN]


def weighted(losses: Tensor, rows: Rows) -> Tensor:
    """Losses `[N, …]` as they count: as they are, unless rows were drawn by priority."""
    if WEIGHTS not in rows:
        return losses
    return losses * rows[WEIGHTS].reshape(-1, *[1] * (losses.dim() - 1))


def error_of(errors: Tensor, where: Tensor) -> Tensor:
    """Mean size of a row's errors `[N, A]` over those that count, `[N]`."""
    return (errors.detach().abs() * where).sum(dim=1) / where.sum(dim=1).clamp_min(1)


def unrolled(policy: PolicyModule, rows: Rows, frames: Tensor) -> Tensor:
    """What a policy that remembers puts out in some frames of sequences, which it reads from nothing in mind on.

    Args:
        policy: The network.
        rows: Sequences of its agents, `[N, R, A, …]` under `SEQUENCE`.
        frames: Numbers of frames, `L` of each sequence, `[N * L]`.

    Returns:
        `[N * L * A, P]`.
    """
    sequences, _, agents = rows[SEQUENCE + ALIVE].shape
    batch = {
        name: rows[SEQUENCE + name].transpose(1, 2).flatten(0, 1)
        for name in (OBS, MASK, ALIVE)
        if SEQUENCE + name in rows
    }
    batch[BEGINS] = rows[BEGINS].repeat_interleave(agents, dim=0)
    batch[MEMORY] = batch[OBS].new_zeros((sequences * agents, policy.memory_size))
    outputs = policy.forward_raw(batch).unflatten(0, (sequences, agents))
    chosen = frames.reshape(sequences, 1, -1, 1).expand(-1, agents, -1, outputs.shape[-1])
    return outputs.gather(2, chosen).transpose(1, 2).flatten(0, 2)


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Mean of what is marked, and 0 where nothing is."""
    return (values * where).sum() / where.sum().clamp_min(1)
