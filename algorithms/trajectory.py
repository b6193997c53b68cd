"""What a runner writes down while it samples, one array for each thing, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from torch import Tensor

from algorithms.exploration import Exploration, sampled
from algorithms.mapping import PolicyMapping
from algorithms.networks.distributions import distribution_class
from algorithms.networks.protocol import ACTION_MASK, ALIVE, MEMORY, STATE
from envs.base import BoolArray, Final, FloatArray, Observation, Step


class Trajectory:
    """What one module's agents saw and did in all worlds, and what came of it, `[T, B, A, …]`, allocated once.

    Agents are joint: agent `a` of world `b` lies at `[:, b, a]` throughout, also where it was not alive or did not
    act. What an algorithm makes of it is its collector's business (`algorithms.collector`).

    Args:
        mapping: Which agents play with the module.
        module_id: The module.
        steps: Steps `T`.
        num_worlds: Worlds `B`.
        masked: Whether there are action masks.
        state_size: Width of the global state; 0 if nobody asks for it.
        whole_worlds: Whether the module reads whole worlds: then its batches have axes `[B, A, …]` in the place of rows
            `[B * A, …]`, here and below, and say who is alive.
        costs: Which of the env's costs are written down, by their places.
        memory_size: Width of the module's recurrent state, all that it remembers; 0 if it has none.

    Attributes:
        observations: `[T + 1, B, A, D]`: at each step, and after the last.
        acts: Who acts, `[T + 1, B, A]`.
        turns: Whether some of those alive did not act at some step.
        dist_rows, action_rows: `dist_inputs` and `actions` as torch sees them, `[T, B * A, …]`.
        alive: Who is there, `[T + 1, B, A]`.
        began: Whether a world began afresh with the first step, so that what was before does not lead there, `[B]`.
        masks: `[T + 1, B, A, M]`, or None.
        states: `[T + 1, B, S]`, or None.
        memories: Recurrent state before each step, and after the last, `[T + 1, B, A, H]`: zeros where an episode
            begins. The first is whatever the runner left there.
        actions: As sampled, unclipped, `[T, B, A, K]`.
        dist_inputs: `[T, B, A, P]`.
        slopes: How the team's return changes with each action, `[T, B, A, K]`; None where nobody asked.
        rewards, terminated: `[T, B, A]`.
        costs: `[C, T, B, A]`.
        ended: Whether the world's episode ended in the step, `[T, B]`.
        endings: The steps in which episodes ended, and how they did.
    """

    def __init__(
        self,
        mapping: PolicyMapping,
        module_id: str,
        steps: int,
        num_worlds: int,
        *,
        masked: bool,
        state_size: int,
        whole_worlds: bool = False,
        costs: Sequence[int] = (),
        memory_size: int = 0,
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
        self.whole_worlds = whole_worlds
        self.began: BoolArray = np.ones(num_worlds, np.bool_)
        self.alive: BoolArray = np.zeros(after, np.bool_)
        self.masks: BoolArray | None = np.ones((*after, self.group.mask_size), np.bool_) if masked else None
        self.states: FloatArray | None = np.zeros((*after[:2], state_size), np.float32) if state_size else None
        self.memories: FloatArray = np.zeros((*after, memory_size), np.float32)
        self._last_memories: list[FloatArray] = []
        kind = np.int64 if self.group.discrete else np.float32
        self.actions = np.zeros((*self.shape, self.group.num_actions), kind)
        width = self.distribution.required_input_dim(self.group.action_space)
        self.dist_inputs: FloatArray = np.zeros((*self.shape, width), np.float32)
        self.slopes: FloatArray | None = None
        self.rewards: FloatArray = np.zeros(self.shape, np.float32)
        self._places = list(costs)
        self.costs: FloatArray = np.zeros((len(costs), *self.shape), np.float32)
        self.terminated: BoolArray = np.zeros(self.shape, np.bool_)
        self.ended: BoolArray = np.zeros(self.shape[:2], np.bool_)
        self.endings: list[tuple[int, Final]] = []
        # Views as torch sees them: one row an agent, or one a world, nothing copied.
        axes = (1, 1) if whole_worlds else (1, 2)
        self._rows = torch.from_numpy(self.observations).flatten(*axes)
        self._mask_rows = None if self.masks is None else torch.from_numpy(self.masks).flatten(*axes)
        self._state_rows = None if self.states is None else torch.from_numpy(self.states)
        self._memory_rows = torch.from_numpy(self.memories).flatten(1, 2)
        self.dist_rows = torch.from_numpy(self.dist_inputs).flatten(1, 2)
        self.action_rows = torch.from_numpy(self.actions).flatten(1, 2)

    def begin(self) -> None:
        """Forgets the last rollout."""
        self.ended[...] = False
        self.turns = False
        self.endings.clear()
        self._last_memories.clear()

    def see(self, step: int, observation: Observation) -> None:
        """Writes down what is seen at a step."""
        for part in self.mapping.modules[self.module_id]:
            self.observations[step, :, part.columns] = observation.observations[part.group][:, part.agents]
            acts, alive = observation.acts[part.group], observation.alive[part.group]
            self.acts[step, :, part.columns] = acts[:, part.agents]
            # Where nobody takes turns the two are one array, and nothing is compared.
            self.turns = self.turns or (acts is not alive and not np.array_equal(acts, alive))
            self.alive[step, :, part.columns] = alive[:, part.agents]
            mask = observation.action_masks.get(part.group)
            if self.masks is not None and mask is not None:
                self.masks[step, :, part.columns] = mask[:, part.agents]
        if self.states is not None:
            self.states[step] = observation.state

    def feel(self, slopes: Mapping[str, FloatArray]) -> None:
        """Writes down how the team's return changes with each action, by group `[T, B, A, K]`."""
        if self.slopes is None:
            self.slopes = np.zeros(self.actions.shape, np.float32)
        for part in self.mapping.modules[self.module_id]:
            self.slopes[:, :, part.columns] = slopes[part.group][:, :, part.agents]

    def charge(self, step: int, costs: Mapping[str, FloatArray]) -> None:
        """Writes down what a step cost, by group `[B, A, C]`, of all costs that the env has."""
        for part in self.mapping.modules[self.module_id]:
            for row, place in enumerate(self._places):
                self.costs[row, step, :, part.columns] = costs[part.group][:, part.agents, place]

    def batch(self, step: int) -> dict[str, Tensor]:
        """What the module reads at a step, `[B * A, …]`."""
        batch = self.critic_batch(step, step + 1)
        if self._mask_rows is not None:
            batch[ACTION_MASK] = self._mask_rows[step]
        return batch

    def critic_batch(self, start: int, stop: int) -> dict[str, Tensor]:
        """What the critic reads at steps `start` to before `stop`, `[(stop - start) * B * A, …]`."""
        batch = {Columns.OBS: self._rows[start:stop].flatten(0, 1)}
        if self.whole_worlds:
            batch[ALIVE] = torch.from_numpy(self.alive[start:stop]).flatten(0, 1)
        if self._state_rows is not None:
            each = 1 if self.whole_worlds else self.shape[2]
            batch[STATE] = self._state_rows[start:stop].flatten(0, 1).repeat_interleave(each, dim=0)
        if self.memories.shape[-1]:
            batch[MEMORY] = self._memory_rows[start:stop].flatten(0, 1)
        return batch

    def remember(self, step: int, memory: Tensor) -> None:
        """Writes down the recurrent state that a step has left, `[B * A, H]`.

        Who is away keeps what it had, and who arrives late has what an episode begins with: an agent's memory is of
        what it saw itself, as it is of a client of the service, who asks nothing for agents that are not there.
        """
        moved = memory.reshape(self.memories.shape[1:]).numpy()
        np.copyto(self.memories[step + 1], np.where(self.alive[step][..., None], moved, self.memories[step]))

    def act(
        self, step: int, dist_inputs: Tensor, generator: torch.Generator, explore: Exploration = sampled
    ) -> NDArray[Any]:
        """Chooses the actions of a step and writes them down; returns what the env is to see, `[B, A, K]`."""
        dist_inputs = dist_inputs.flatten(0, -2)
        self.dist_rows[step] = dist_inputs
        self.action_rows[step] = explore(self.distribution(dist_inputs), step, generator)
        if self.group.discrete:
            return self.actions[step]
        clipped = np.clip(self.actions[step], -1.0, 1.0)
        return clipped if self.masks is None else clipped * self.masks[step]

    def outcome(self, step: int, result: Step) -> None:
        """Writes down what a step brought."""
        for part in self.mapping.modules[self.module_id]:
            self.rewards[step, :, part.columns] = result.rewards[part.group][:, part.agents]
            self.terminated[step, :, part.columns] = result.terminated[part.group][:, part.agents]
        if result.final is not None:
            self.ended[step, result.final.worlds] = True
            self.endings.append((step, result.final))
            self._last_memories.append(
                self.memories[step + 1, result.final.worlds]
            )  # what is seen last is read with it
            self.memories[step + 1, result.final.worlds] = 0.0

    def finals(self) -> tuple[dict[str, Tensor], BoolArray]:
        """What living agents saw when their episodes were cut off, and who they were, `[E, A]`.

        The batch holds a row for each of them, or, if the module reads whole worlds, all `E` worlds that ended.
        """
        alive = [self.mapping.gather(final.observation.alive, self.module_id) for _, final in self.endings]
        if not alive:
            return {}, np.zeros((0, self.shape[2]), np.bool_)
        living = np.concatenate(alive)
        if not living.any():
            return {}, living
        seen = [self.mapping.gather(final.observation.observations, self.module_id) for _, final in self.endings]
        rows = slice(None) if self.whole_worlds else living
        batch = {Columns.OBS: torch.from_numpy(np.concatenate(seen)[rows])}
        if self.whole_worlds:
            batch[ALIVE] = torch.from_numpy(living)
        if self.states is not None:
            states = np.concatenate([final.observation.state for _, final in self.endings])
            batch[STATE] = torch.from_numpy(states[rows if self.whole_worlds else np.nonzero(living)[0]])
        if self.memories.shape[-1]:
            batch[MEMORY] = torch.from_numpy(np.concatenate(self._last_memories)[rows])
        return batch, living
