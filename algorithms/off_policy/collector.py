"""What off-policy algorithms make of a trajectory: all of it, agents together, for the replay."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.exploration import Exploration
from algorithms.networks.policy_module import PolicyModule
from algorithms.off_policy.columns import (
    ACTIONS,
    ACTS,
    ALIVE,
    BEGAN,
    ENDED,
    FINAL,
    MASK,
    OBS,
    REWARDS,
    STATE,
    TERMINATED,
)
from algorithms.rollout import Columned
from algorithms.trajectory import Trajectory
from envs.base import BoolArray, Observation


class OffPolicyCollector:
    """Tries actions, and hands over whole worlds.

    Args:
        module: The network.
        trajectory: What the runner writes to.
        explore: How what is tried departs from the policy.
    """

    def __init__(self, module: PolicyModule, trajectory: Trajectory, explore: Exploration) -> None:
        self.module, self.trajectory, self.explore = module, trajectory, explore

    def act(self, step: int, generator: torch.Generator) -> NDArray[np.generic]:
        """Chooses the actions of a step."""
        trajectory = self.trajectory
        batch = trajectory.batch(step)
        if self.module.memory_size:
            outputs, memory = self.module.advance(batch)
            trajectory.remember(step, memory)
        else:
            outputs = self.module.forward_raw(batch)
        tried = self.module.tried(outputs, batch.get(MASK))
        trajectory.action_rows[step] = self.explore(tried, step, generator)
        return trajectory.actions[step]

    def finish(self) -> Columned:
        """Arrays `[T, B, A, …]`, what was seen at the ends of episodes, `[E, A, …]`, and where those were."""
        trajectory = self.trajectory
        columns: Columned = {
            OBS: trajectory.observations[:-1],
            ACTIONS: trajectory.actions,
            REWARDS: trajectory.rewards,
            TERMINATED: trajectory.terminated,
            ACTS: trajectory.acts[:-1],
            ALIVE: trajectory.alive[:-1],
            ENDED: trajectory.ended,
            BEGAN: trajectory.began,
        }
        if trajectory.masks is not None:
            columns[MASK] = trajectory.masks[:-1]
        if trajectory.states is not None:
            columns[STATE] = trajectory.states[:-1]
        for name in (OBS, ACTS, ALIVE, MASK, STATE):
            if name in columns:
                columns[FINAL + name] = self._finals(name, columns[name])
        return columns

    def _finals(self, name: str, like: NDArray[np.generic]) -> NDArray[np.generic]:
        """What was seen when episodes ended, `[E, …]`, in the order of their steps, then of worlds."""
        trajectory, endings = self.trajectory, self.trajectory.endings
        if not endings:
            return np.zeros((0, *like.shape[2:]), like.dtype)
        if name == STATE:
            return np.concatenate([final.observation.state for _, final in endings])
        if name == MASK:
            return np.concatenate([self._masks(final.observation) for _, final in endings])
        field = {OBS: "observations", ACTS: "acts", ALIVE: "alive"}[name]
        mapping, module_id = trajectory.mapping, trajectory.module_id
        return np.concatenate([mapping.gather(getattr(final.observation, field), module_id) for _, final in endings])

    def _masks(self, observation: Observation) -> BoolArray:
        """What the module's agents may do, `[E, A, M]`; all, in groups that have no masks."""
        trajectory = self.trajectory
        width, agents = trajectory.group.mask_size, trajectory.shape[2]
        masks = np.ones((len(observation.state), agents, width), np.bool_)
        for part in trajectory.mapping.modules[trajectory.module_id]:
            if part.group in observation.action_masks:
                masks[:, part.columns] = observation.action_masks[part.group][:, part.agents]
        return masks
