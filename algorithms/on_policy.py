"""What on-policy algorithms make of a trajectory: values, advantages, and rows of the agents that acted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from algorithms import gae
from algorithms.exploration import Exploration, sampled
from algorithms.networks.module import ActorCriticModule
from algorithms.networks.protocol import ACTION_MASK, STATE
from algorithms.rollout import Columned
from algorithms.trajectory import Trajectory
from envs.base import BoolArray, FloatArray

VALUE_CHUNK = 2048
"""Rows of one forward pass over a finished rollout: more do not fit the cache."""


class ActorCriticCollector:
    """Samples from the policy, values what was seen, and hands over rows with advantages.

    Where policy and critic share a trunk, values come with the actions; else all at once, when the rollout is over.

    Args:
        module: The network.
        trajectory: What the runner writes to.
        gamma: Discount of a step, or of a turn where agents take turns.
        lambda_: Decay of the advantages' estimator.
        explore: How what is tried departs from the policy.

    Attributes:
        values: Of what was seen at each step, and after the last, `[T + 1, B, A]`.
    """

    def __init__(
        self,
        module: ActorCriticModule,
        trajectory: Trajectory,
        *,
        gamma: float,
        lambda_: float,
        explore: Exploration = sampled,
    ) -> None:
        self.module, self.trajectory, self.explore = module, trajectory, explore
        self.gamma, self.lambda_ = gamma, lambda_
        steps, worlds, agents = trajectory.shape
        self.values: FloatArray = np.zeros((steps + 1, worlds, agents), np.float32)
        self._value_rows = torch.from_numpy(self.values).flatten(1, 2)

    def act(self, step: int, generator: torch.Generator) -> NDArray[Any]:
        """Chooses the actions of a step."""
        batch = self.trajectory.batch(step)
        if self.module.network.share_trunk:
            dist_inputs, values = self.module.forward_policy_and_value(batch)
            self._foresee(step, values)
        else:
            dist_inputs = self.module.forward_policy(batch)
        return self.trajectory.act(step, dist_inputs, generator, self.explore)

    def finish(self) -> Columned:
        """Values what has none yet, estimates advantages, and hands over the rows of agents that acted."""
        trajectory = self.trajectory
        steps, worlds, agents = trajectory.shape
        per_pass = max(1, VALUE_CHUNK // (worlds * agents))
        first = steps if self.module.network.share_trunk else 0
        for start in range(first, steps + 1, per_pass):
            stop = min(start + per_pass, steps + 1)
            self._foresee(start, self.module.compute_values(trajectory.critic_batch(start, stop)))
        batch, living = trajectory.finals()
        ends = _in_chunks(self.module, batch) if batch else torch.zeros(0)
        return self._rows(*self._estimate(ends.numpy(), living))

    def _foresee(self, start: int, values: Tensor) -> None:
        """Writes down values of one step or several from `start` on, `[n * B * A]`."""
        rows = self._value_rows[start:].flatten()
        rows[: len(values)] = values

    def _estimate(self, final_values: FloatArray, living: BoolArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Advantages, value targets, and whose count, `[T, B, A]`, from the values of the rows that `finals` returned.

        Where agents take turns, those that are open at the end do not count: nobody knows yet how they end.
        """
        trajectory = self.trajectory
        ends = np.zeros(living.shape, np.float32)
        ends[living] = final_values
        endings = trajectory.endings
        steps = np.concatenate([np.full(final.worlds.size, step) for step, final in endings] or [np.zeros(0, int)])
        worlds = np.concatenate([final.worlds for _, final in endings] or [np.zeros(0, int)])
        following = gae.successor_values(self.values, steps, worlds, ends)
        rewards, terminated, ended = trajectory.rewards, trajectory.terminated, trajectory.ended
        decay = {"gamma": self.gamma, "lambda_": self.lambda_}
        if not trajectory.turns:
            acts = trajectory.acts[:-1]
            return *gae.advantages(rewards, self.values[:-1], following, terminated, ended, **decay), acts
        return gae.advantages_of_turns(rewards, self.values, following, terminated, ended, trajectory.acts, **decay)

    def _rows(self, estimates: FloatArray, targets: FloatArray, counts: BoolArray) -> Columned:
        """The rows that count, `[N, …]`: views where all do, copies otherwise."""
        trajectory = self.trajectory
        taken = trajectory.action_rows.flatten(0, 1)
        likelihoods = trajectory.distribution(trajectory.dist_rows.flatten(0, 1)).logp(taken).numpy()
        columns: Columned = {
            Columns.OBS: trajectory.observations[:-1],
            Columns.ACTIONS: trajectory.actions,
            Columns.ACTION_LOGP: likelihoods.reshape(trajectory.shape),
            Columns.ACTION_DIST_INPUTS: trajectory.dist_inputs,
            Postprocessing.ADVANTAGES: estimates,
            Postprocessing.VALUE_TARGETS: targets,
        }
        if trajectory.masks is not None:
            columns[ACTION_MASK] = trajectory.masks[:-1]
        chosen = counts.reshape(-1)
        everyone = bool(chosen.all())
        rows = {}
        for name, column in columns.items():
            flat = column.reshape(chosen.size, *column.shape[3:])
            rows[name] = flat if everyone else flat[chosen]
        if trajectory.states is not None:
            flat_states = trajectory.states[:-1].reshape(-1, trajectory.states.shape[-1])
            rows[STATE] = flat_states[np.flatnonzero(chosen) // trajectory.shape[2]]
        return rows


def _in_chunks(module: ActorCriticModule, batch: Mapping[str, Tensor]) -> Tensor:
    """Values of a batch of any size, `[N]`."""
    rows = len(batch[Columns.OBS])
    parts = [
        module.compute_values({name: column[start : start + VALUE_CHUNK] for name, column in batch.items()})
        for start in range(0, rows, VALUE_CHUNK)
    ]
    return torch.cat(parts)
