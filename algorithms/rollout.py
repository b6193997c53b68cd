"""What a runner writes down while it samples, column by column, and what it hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from algorithms import gae
from algorithms.mapping import PolicyMapping
from algorithms.networks.distributions import distribution_class
from algorithms.networks.module import ACTION_MASK, STATE
from envs.base import BoolArray, Final, FloatArray, Observation, Step

Columned = dict[str, NDArray[Any]]
"""One module's rows, `[N, …]` by column."""


@dataclass(frozen=True)
class EpisodeRecord:
    """How one world's episode ended.

    Attributes:
        task: Name of the task that was played.
        mean_return: Mean return of the agents that took part, before any sharing within the team.
        length: Steps.
        metrics: The domain's figures of the episode.
        level: What the world's random stream was keyed by; with the task, what `BatchedEnv.replay` plays again.
    """

    task: str
    mean_return: float
    length: int
    metrics: dict[str, float]
    level: tuple[int, int, int] = (0, 0, 0)

    @staticmethod
    def of(final: Final) -> list[EpisodeRecord]:
        """The records of the episodes that ended in one step."""
        figures = {name: array.tolist() for name, array in final.metrics.items()}
        returns, lengths = final.mean_returns().tolist(), final.lengths.tolist()
        levels = map(tuple, final.levels.tolist())
        return [
            EpisodeRecord(
                task.name, returns[i], lengths[i], {name: column[i] for name, column in figures.items()}, level
            )
            for i, (task, level) in enumerate(zip(final.tasks, levels, strict=True))
        ]


@dataclass
class Rollout:
    """What one runner sampled: rows of agents that acted only.

    Attributes:
        worker_index: Which runner sampled it.
        batches: By module, its rows; arrays may be views that the runner's next `sample` overwrites.
        num_env_steps: Steps, summed over the worlds.
        episodes: The episodes that ended, in the order in which they did.
    """

    worker_index: int
    batches: dict[str, Columned]
    num_env_steps: int
    episodes: list[EpisodeRecord]

    def env_steps(self) -> int:
        """Steps, summed over the worlds."""
        return self.num_env_steps

    def agent_steps(self) -> int:
        """Steps of agents that acted."""
        return sum(len(batch[Columns.OBS]) for batch in self.batches.values())


class ModuleColumns:
    """One module's columns of a rollout, `[T, B, A, …]`, allocated once.

    Args:
        mapping: Which agents play with the module.
        module_id: The module.
        steps: Steps `T`.
        num_worlds: Worlds `B`.
        masked: Whether there are action masks.
        state_size: Width of the global state; 0 if the critic does not read it.

    Attributes:
        observations: `[T + 1, B, A, D]`: at each step, and after the last.
        acts: Who acts, `[T + 1, B, A]`.
        turns: Whether some of those alive did not act at some step.
        masks: `[T, B, A, M]`, or None.
        states: `[T + 1, B, S]`, or None.
        actions: As sampled, unclipped, `[T, B, A, K]`.
        dist_inputs: `[T, B, A, P]`.
        values: `[T + 1, B, A]`.
        rewards, terminated: `[T, B, A]`.
        ended: Whether the world's episode ended in the step, `[T, B]`.
    """

    def __init__(
        self, mapping: PolicyMapping, module_id: str, steps: int, num_worlds: int, *, masked: bool, state_size: int
    ) -> None:
        self.mapping, self.module_id = mapping, module_id
        self.group = mapping.module_spaces(module_id)
        agents = mapping.size(module_id)
        self.shape = (steps, num_worlds, agents)
        after = (steps + 1, num_worlds, agents)
        self.distribution = distribution_class(self.group.action_space)
        self.observations: FloatArray = np.zeros((*after, self.group.layout.size), np.float32)
        self.acts: BoolArray = np.zeros(after, np.bool_)
        self.turns = False
        self.masks: BoolArray | None = np.ones((*self.shape, self.group.mask_size), np.bool_) if masked else None
        self.states: FloatArray | None = np.zeros((*after[:2], state_size), np.float32) if state_size else None
        kind = np.int64 if self.group.discrete else np.float32
        self.actions = np.zeros((*self.shape, self.group.num_actions), kind)
        width = self.distribution.required_input_dim(self.group.action_space)
        self.dist_inputs: FloatArray = np.zeros((*self.shape, width), np.float32)
        self.values: FloatArray = np.zeros(after, np.float32)
        self.rewards: FloatArray = np.zeros(self.shape, np.float32)
        self.terminated: BoolArray = np.zeros(self.shape, np.bool_)
        self.ended: BoolArray = np.zeros(self.shape[:2], np.bool_)
        self._finals: list[tuple[int, Final]] = []
        # Views as torch sees them: one row an agent, nothing copied.
        self._rows = torch.from_numpy(self.observations).flatten(1, 2)
        self._mask_rows = None if self.masks is None else torch.from_numpy(self.masks).flatten(1, 2)
        self._state_rows = None if self.states is None else torch.from_numpy(self.states)
        self._dist_rows = torch.from_numpy(self.dist_inputs).flatten(1, 2)
        self._action_rows = torch.from_numpy(self.actions).flatten(1, 2)
        self._value_rows = torch.from_numpy(self.values).flatten(1, 2)

    def begin(self) -> None:
        """Forgets the last rollout."""
        self.ended[...] = False
        self.turns = False
        self._finals.clear()

    def see(self, step: int, observation: Observation) -> None:
        """Writes down what is seen at a step."""
        last = step == self.shape[0]
        for part in self.mapping.modules[self.module_id]:
            self.observations[step, :, part.columns] = observation.observations[part.group][:, part.agents]
            acts, alive = observation.acts[part.group], observation.alive[part.group]
            self.acts[step, :, part.columns] = acts[:, part.agents]
            # Where nobody takes turns the two are one array, and nothing is compared.
            self.turns = self.turns or (acts is not alive and not np.array_equal(acts, alive))
            mask = observation.action_masks.get(part.group)
            if self.masks is not None and mask is not None and not last:
                self.masks[step, :, part.columns] = mask[:, part.agents]
        if self.states is not None:
            self.states[step] = observation.state

    def batch(self, step: int) -> dict[str, Tensor]:
        """What the module reads at a step before the last, `[B * A, …]`."""
        batch = self.critic_batch(step, step + 1)
        if self._mask_rows is not None:
            batch[ACTION_MASK] = self._mask_rows[step]
        return batch

    def critic_batch(self, start: int, stop: int) -> dict[str, Tensor]:
        """What the critic reads at steps `start` to before `stop`, `[(stop - start) * B * A, …]`."""
        batch = {Columns.OBS: self._rows[start:stop].flatten(0, 1)}
        if self._state_rows is not None:
            batch[STATE] = self._state_rows[start:stop].flatten(0, 1).repeat_interleave(self.shape[2], dim=0)
        return batch

    def act(self, step: int, dist_inputs: Tensor, generator: torch.Generator) -> NDArray[Any]:
        """Samples the actions of a step and writes them down; returns what the env is to see, `[B, A, K]`."""
        self._dist_rows[step] = dist_inputs
        self._action_rows[step] = self.distribution(dist_inputs).sample(generator=generator)
        if self.group.discrete:
            return self.actions[step]
        clipped = np.clip(self.actions[step], -1.0, 1.0)
        return clipped if self.masks is None else clipped * self.masks[step]

    def foresee(self, start: int, values: Tensor) -> None:
        """Writes down values of one step or several from `start` on, `[n * B * A]`."""
        rows = self._value_rows[start:].flatten()
        rows[: len(values)] = values

    def outcome(self, step: int, result: Step) -> None:
        """Writes down what a step brought."""
        for part in self.mapping.modules[self.module_id]:
            self.rewards[step, :, part.columns] = result.rewards[part.group][:, part.agents]
            self.terminated[step, :, part.columns] = result.terminated[part.group][:, part.agents]
        if result.final is not None:
            self.ended[step, result.final.worlds] = True
            self._finals.append((step, result.final))

    def finals(self) -> tuple[dict[str, Tensor], BoolArray]:
        """What living agents saw when their episodes were cut off, one row each, and who they were, `[E, A]`."""
        alive = [self.mapping.gather(final.observation.alive, self.module_id) for _, final in self._finals]
        if not alive:
            return {}, np.zeros((0, self.shape[2]), np.bool_)
        living = np.concatenate(alive)
        if not living.any():
            return {}, living
        seen = [self.mapping.gather(final.observation.observations, self.module_id) for _, final in self._finals]
        batch = {Columns.OBS: torch.from_numpy(np.concatenate(seen)[living])}
        if self.states is not None:
            states = np.concatenate([final.observation.state for _, final in self._finals])
            batch[STATE] = torch.from_numpy(states[np.nonzero(living)[0]])
        return batch, living

    def estimate(
        self, final_values: FloatArray, living: BoolArray, *, gamma: float, lambda_: float
    ) -> tuple[FloatArray, FloatArray]:
        """Advantages and value targets, `[T, B, A]`, from the rows that `finals` returned and their values.

        Where agents take turns, those that are open at the end no longer count as acts: nobody knows yet how they end.
        """
        ends = np.zeros(living.shape, np.float32)
        ends[living] = final_values
        steps = np.concatenate([np.full(final.worlds.size, step) for step, final in self._finals] or [np.zeros(0, int)])
        worlds = np.concatenate([final.worlds for _, final in self._finals] or [np.zeros(0, int)])
        following = gae.successor_values(self.values, steps, worlds, ends)
        if not self.turns:
            return gae.advantages(
                self.rewards, self.values[:-1], following, self.terminated, self.ended, gamma=gamma, lambda_=lambda_
            )
        estimates, targets, known = gae.advantages_of_turns(
            self.rewards,
            self.values,
            following,
            self.terminated,
            self.ended,
            self.acts,
            gamma=gamma,
            lambda_=lambda_,
        )
        self.acts[:-1] = known
        return estimates, targets

    def rows(self, estimates: FloatArray, targets: FloatArray) -> Columned:
        """The rows of agents that acted, `[N, …]`: views where all did throughout, copies otherwise."""
        with torch.inference_mode():
            taken = self._action_rows.flatten(0, 1)
            likelihoods = self.distribution(self._dist_rows.flatten(0, 1)).logp(taken).numpy()
        columns: Columned = {
            Columns.OBS: self.observations[:-1],
            Columns.ACTIONS: self.actions,
            Columns.ACTION_LOGP: likelihoods.reshape(self.shape),
            Columns.ACTION_DIST_INPUTS: self.dist_inputs,
            Postprocessing.ADVANTAGES: estimates,
            Postprocessing.VALUE_TARGETS: targets,
        }
        if self.masks is not None:
            columns[ACTION_MASK] = self.masks
        acts = self.acts[:-1].reshape(-1)
        everyone = bool(acts.all())
        rows = {}
        for name, column in columns.items():
            flat = column.reshape(acts.size, *column.shape[3:])
            rows[name] = flat if everyone else flat[acts]
        if self.states is not None:
            flat_states = self.states[:-1].reshape(-1, self.states.shape[-1])
            rows[STATE] = flat_states[np.flatnonzero(acts) // self.shape[2]]
        return rows
