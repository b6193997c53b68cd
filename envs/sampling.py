"""Actions drawn at random from what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray

from envs.base import AgentGroup, Observation


def random_actions(
    groups: Mapping[str, AgentGroup], observation: Observation, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Draws every dimension or branch independently and uniformly over what is allowed.

    Args:
        groups: The agents, by group.
        observation: What they see; its action masks are kept.
        rng: Source of randomness.

    Returns:
        By group, `[B, A, K]`: int64 branches, or float32 in [-1, 1] with zero where a dimension is masked.
    """
    actions: dict[str, NDArray[Any]] = {}
    for name, group in groups.items():
        worlds, agents, _ = observation.observations[name].shape
        mask = observation.action_masks.get(name)
        if isinstance(group.action_space, MultiDiscrete):
            weights = rng.random((worlds, agents, group.mask_size))
            weights = weights if mask is None else np.where(mask, weights, -1.0)
            branches = np.split(weights, np.cumsum(group.action_space.nvec)[:-1], axis=2)
            actions[name] = np.stack([branch.argmax(axis=2) for branch in branches], axis=2)
        else:
            drawn = rng.uniform(-1, 1, (worlds, agents, group.num_actions)).astype(np.float32)
            actions[name] = drawn if mask is None else drawn * mask
    return actions
