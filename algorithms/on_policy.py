"""What on-policy algorithms make of a trajectory: values, advantages, and rows of the agents that acted.

Where the network reads whole worlds, a row is a world with all its agents, and says who is alive and who counts. Where
it remembers, a row is a sequence of one agent's steps, and says beside that where episodes begin, and what was known
before: the recurrent state with which the runner played, as of the weights that it had (Kapturowski et al. 2019,
https://openreview.net/forum?id=r1lyTjAqYX, section 3, the stored state; Hausknecht and Stone 2015,
https://arxiv.org/abs/1507.06527, section 4.2, on how far back a sequence is to reach).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from algorithms import costs, gae
from algorithms.exploration import Exploration, sampled
from algorithms.networks.module import ActorCriticModule
from algorithms.networks.protocol import ACTION_MASK, ALIVE, BEGINS, MEMORY, STATE
from algorithms.rollout import ACTS, Columned
from algorithms.trajectory import Trajectory
from envs.base import BoolArray, FloatArray

VALUE_CHUNK = 2048
"""Rows of one forward pass over a finished rollout: more do not fit the cache."""


class ActorCriticCollector:
    """Samples from the policy, values what was seen, and hands over rows with advantages.

    Where policy and critic share a trunk, or remember, values come with the actions; else all at once, when the rollout
    is over.

    Args:
        module: The network.
        trajectory: What the runner writes to.
        gamma: Discount of a step, or of a turn where agents take turns.
        lambda_: Decay of the advantages' estimator.
        explore: How what is tried departs from the policy.
        sequence: Steps `L` of a sequence, a divisor of the rollout's, where the network remembers; None: all.

    Attributes:
        values: Of what was seen at each step, and after the last, for the rewards and then for each cost of the
            trajectory, `[1 + C, T + 1, B, A]`.
    """

    def __init__(
        self,
        module: ActorCriticModule,
        trajectory: Trajectory,
        *,
        gamma: float,
        lambda_: float,
        explore: Exploration = sampled,
        sequence: int | None = None,
    ) -> None:
        self.module, self.trajectory, self.explore = module, trajectory, explore
        self.gamma, self.lambda_ = gamma, lambda_
        steps, worlds, agents = trajectory.shape
        self.sequence = sequence or steps
        self.values_at_once = not (module.network.share_trunk or module.memory_size)
        self.costs = list(module.cost_heads)
        self.values: FloatArray = np.zeros((1 + len(self.costs), steps + 1, worlds, agents), np.float32)
        self._value_rows = torch.from_numpy(self.values).flatten(2, 3)

    def act(self, step: int, generator: torch.Generator) -> NDArray[Any]:
        """Chooses the actions of a step."""
        batch = self.trajectory.batch(step)
        if self.module.memory_size:
            dist_inputs, values, memory = self.module.advance_with_values(batch)
            self._foresee(step, values)
            assert memory is not None
            self.trajectory.remember(step, memory)
        elif not self.values_at_once:
            dist_inputs, values = self.module.forward_policy_and_values(batch)
            self._foresee(step, values)
        else:
            dist_inputs = self.module.forward_policy(batch)
        return self.trajectory.act(step, dist_inputs, generator, self.explore)

    def finish(self) -> Columned:
        """Values what has none yet, estimates advantages, and hands over the rows of agents that acted."""
        trajectory = self.trajectory
        steps, worlds, agents = trajectory.shape
        per_pass = max(1, VALUE_CHUNK // (worlds * agents))
        first = 0 if self.values_at_once else steps
        for start in range(first, steps + 1, per_pass):
            stop = min(start + per_pass, steps + 1)
            self._foresee(start, self.module.compute_all_values(trajectory.critic_batch(start, stop)))
        batch, living = trajectory.finals()
        ends = _in_chunks(self.module, batch).numpy() if batch else np.zeros((len(self.values), 0), np.float32)
        if batch and trajectory.whole_worlds:
            ends = ends[:, living]
        estimates, targets, counts = self._estimate(ends, living)
        columns = self._columns(estimates, targets)
        if self.module.memory_size:
            return self._sequences(columns, counts)
        return self._worlds(columns, counts) if trajectory.whole_worlds else self._rows(columns, counts)

    def _foresee(self, start: int, values: Sequence[Tensor]) -> None:
        """Writes down values of one step or several from `start` on, `[n * B * A]` of the rewards and of each cost.

        Of whole worlds they are `[n * B, A]`.
        """
        for rows, found in zip(self._value_rows, values, strict=True):
            rows[start:].flatten()[: found.numel()] = found.flatten()

    def _estimate(
        self, final_values: FloatArray, living: BoolArray
    ) -> tuple[list[FloatArray], list[FloatArray], BoolArray]:
        """Advantages and value targets `[T, B, A]` of the rewards and of each cost, and whose count, `[T, B, A]`.

        Where agents take turns, those that are open at the end do not count: nobody knows yet how they end.

        Args:
            final_values: Values of the living that `finals` returned, `[1 + C, E]`.
            living: As `finals` returned it.
        """
        trajectory = self.trajectory
        endings = trajectory.endings
        steps = np.concatenate([np.full(final.worlds.size, step) for step, final in endings] or [np.zeros(0, int)])
        worlds = np.concatenate([final.worlds for _, final in endings] or [np.zeros(0, int)])
        terminated, ended, acts = trajectory.terminated, trajectory.ended, trajectory.acts
        decay = {"gamma": self.gamma, "lambda_": self.lambda_}
        estimates, targets = [], []
        counts = acts[:-1]
        for earned, values, last in zip(
            (trajectory.rewards, *trajectory.costs), self.values, final_values, strict=True
        ):
            ends = np.zeros(living.shape, np.float32)
            ends[living] = last
            following = gae.successor_values(values, steps, worlds, ends)
            if not trajectory.turns:
                estimate, target = gae.advantages(earned, values[:-1], following, terminated, ended, **decay)
            else:
                estimate, target, counts = gae.advantages_of_turns(
                    earned, values, following, terminated, ended, acts, **decay
                )
            estimates.append(estimate)
            targets.append(target)
        return estimates, targets, counts

    def _columns(self, estimates: list[FloatArray], targets: list[FloatArray]) -> Columned:
        """What is learned from, of all agents, `[T, B, A, …]`."""
        trajectory = self.trajectory
        taken = trajectory.action_rows.flatten(0, 1)
        likelihoods = trajectory.distribution(trajectory.dist_rows.flatten(0, 1)).logp(taken).numpy()
        columns: Columned = {
            Columns.OBS: trajectory.observations[:-1],
            Columns.ACTIONS: trajectory.actions,
            Columns.ACTION_LOGP: likelihoods.reshape(trajectory.shape),
            Columns.ACTION_DIST_INPUTS: trajectory.dist_inputs,
            Postprocessing.ADVANTAGES: estimates[0],
            Postprocessing.VALUE_TARGETS: targets[0],
        }
        for name, estimate, target in zip(self.costs, estimates[1:], targets[1:], strict=True):
            columns |= {costs.ADVANTAGES + name: estimate, costs.TARGETS + name: target}
        if trajectory.masks is not None:
            columns[ACTION_MASK] = trajectory.masks[:-1]
        return columns

    def _rows(self, columns: Columned, counts: BoolArray) -> Columned:
        """The rows that count, `[N, …]`: views where all do, copies otherwise."""
        trajectory = self.trajectory
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

    def _worlds(self, columns: Columned, counts: BoolArray) -> Columned:
        """Worlds in which somebody counts, at every step, `[N, A, …]`, with who is alive and who counts `[N, A]`.

        As with rows these are views where somebody counts everywhere, and copies otherwise.
        """
        trajectory = self.trajectory
        columns = columns | {ALIVE: trajectory.alive[:-1], ACTS: counts}
        if trajectory.states is not None:
            columns[STATE] = trajectory.states[:-1]
        chosen = counts.any(axis=2).reshape(-1)
        everywhere = bool(chosen.all())
        flat = {name: column.reshape(chosen.size, *column.shape[2:]) for name, column in columns.items()}
        return flat if everywhere else {name: column[chosen] for name, column in flat.items()}

    def _sequences(self, columns: Columned, counts: BoolArray) -> Columned:
        """Sequences of agents that count somewhere in them, `[N, L, …]`, with all that protocol and losses ask for.

        That is who is alive, who counts, and where episodes begin, `[N, L]`, and the recurrent state before them,
        `[N, H]`.
        """
        trajectory, length = self.trajectory, self.sequence
        begins = np.zeros(trajectory.ended.shape, np.bool_)
        begins[1:] = trajectory.ended[:-1]  # the first step finds what was known before it, or zeros
        columns = columns | {ALIVE: trajectory.alive[:-1], ACTS: counts}
        columns[BEGINS] = np.broadcast_to(begins[:, :, None], counts.shape)
        if trajectory.states is not None:
            seen = trajectory.states[:-1, :, None]
            columns[STATE] = np.broadcast_to(seen, (*counts.shape, seen.shape[-1]))

        def cut(column: NDArray[Any]) -> NDArray[Any]:
            """Steps `[T, B, A, …]` as sequences `[T / L, B, A, L, …]`."""
            return np.moveaxis(column.reshape(-1, length, *column.shape[1:]), 1, 3)

        chosen = cut(counts).any(axis=3)
        rows = {name: cut(column)[chosen] for name, column in columns.items()}
        return rows | {MEMORY: trajectory.memories[:-1:length][chosen]}


def _in_chunks(module: ActorCriticModule, batch: Mapping[str, Tensor]) -> Tensor:
    """Values of a batch of any size, of the rewards and of each cost, `[1 + C, N]`, or `[1 + C, W, A]` of worlds."""
    rows, *agents = batch[Columns.OBS].shape[:-1]
    chunk = max(1, VALUE_CHUNK // math.prod(agents))
    parts = [
        torch.stack(module.compute_all_values({name: column[start : start + chunk] for name, column in batch.items()}))
        for start in range(0, rows, chunk)
    ]
    return torch.cat(parts, dim=1)
