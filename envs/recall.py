"""What an agent did in the step before and what it earned by it, beside what it sees.

With these as inputs a network that remembers can learn in the course of an episode how to act in it: what it tried and
what came of that is all there is to know of a task nobody names (RL^2, Duan et al. 2016,
https://arxiv.org/abs/1611.02779, section 2; Wang et al. 2016, https://arxiv.org/abs/1611.05763).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray

from envs.arrays import Actions, AgentGroup, BoolArray, FloatArray, IntArray, Observation
from envs.layout import EntityTable, ObservationLayout

STEPS, PREVIOUS, REWARD, EXISTS = "steps", "previous", "reward", "exists"


class Recall:
    """The step before, of all agents, as further features: `previous.reward`, `previous.action_0`, …, and `exists`.

    Actions are as they were taken, choices as one-hot vectors; zeros in masked dimensions, and of who was not asked.
    All is zero at an episode's start, for who was not there, and for who is not. In layouts with tables the step is a
    table of one entity that comes last, and exists from the second step on; else it joins the agent's own features.
    Actions come behind the reward, so that of fewer entities to act on there are the first so many features.

    Args:
        groups: The agents, by group, as their env has them.
        num_worlds: Number of worlds `B`.

    Attributes:
        groups: The same agents, with layouts that name the further features.
    """

    def __init__(self, groups: Mapping[str, AgentGroup], num_worlds: int) -> None:
        features = {name: (REWARD, *_names_of(group)) for name, group in groups.items()}
        self._places = {name: _place_in(group.layout) for name, group in groups.items()}
        self.groups = {
            name: replace(group, layout=_with_step(group.layout, features[name])) for name, group in groups.items()
        }
        shapes = {name: (num_worlds, group.size) for name, group in groups.items()}
        self._step: dict[str, FloatArray] = {
            name: np.zeros((*shape, len(features[name]) + 1), np.float32) for name, shape in shapes.items()
        }
        self._acts: dict[str, BoolArray] = {name: np.zeros(shape, np.bool_) for name, shape in shapes.items()}
        self._masks: dict[str, BoolArray] = {}

    def beside(self, observation: Observation) -> None:
        """Sets the step before beside what is seen, and notes who is asked for what."""
        for name, seen in observation.observations.items():
            there = observation.alive[name][..., None]
            before, after = seen[..., : self._places[name]], seen[..., self._places[name] :]
            step = np.where(there, self._step[name], np.float32(0))
            observation.observations[name] = np.concatenate([before, step, after], axis=2)
            self._acts[name] = observation.acts[name].copy()
            if name in observation.action_masks and not self.groups[name].discrete:
                self._masks[name] = observation.action_masks[name].copy()

    def note(self, actions: Actions, rewards: Mapping[str, NDArray[Any]], alive: Mapping[str, BoolArray]) -> None:
        """Takes down a step: what was done, `[B, A, K]`, what it earned, and who was there, `[B, A]`, by group."""
        for name, step in self._step.items():
            asked = self._acts[name][..., None]
            asked = asked & self._masks[name] if name in self._masks else asked
            step[..., 1:-1] = np.where(asked, _as_features(self.groups[name], actions[name]), 0)
            step[..., 0], step[..., -1] = rewards[name], alive[name]

    def forget(self, worlds: IntArray) -> None:
        """Begins episodes: nothing was before."""
        for step in self._step.values():
            step[worlds] = 0.0

    def get_state(self) -> dict[str, Any]:
        """All of it, in copies."""
        parts: dict[str, Mapping[str, NDArray[Any]]] = {"step": self._step, "acts": self._acts, "masks": self._masks}
        return {part: {name: array.copy() for name, array in arrays.items()} for part, arrays in parts.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self._step, self._acts, self._masks = (
            {name: array.copy() for name, array in state[part].items()} for part in ("step", "acts", "masks")
        )


def _names_of(group: AgentGroup) -> list[str]:
    """Features of what an agent of a group does."""
    if not isinstance(group.action_space, MultiDiscrete):
        return [f"action_{dimension}" for dimension in range(group.num_actions)]
    return [
        f"action_{branch}_{choice}" for branch, count in enumerate(group.action_space.nvec) for choice in range(count)
    ]


def _as_features(group: AgentGroup, actions: NDArray[Any]) -> NDArray[Any]:
    """Actions `[B, A, K]` as features, `[B, A, F]`."""
    space = group.action_space
    if not isinstance(space, MultiDiscrete):
        return actions
    places = np.concatenate([np.arange(count) for count in space.nvec])
    return np.repeat(actions, space.nvec, axis=2) == places


def _place_in(layout: ObservationLayout) -> int:
    """Where the step goes among what is seen: behind all of it, or behind an agent's own features."""
    return layout.size if layout.entities and layout.entity_features else len(layout.own)


def _with_step(layout: ObservationLayout, features: tuple[str, ...]) -> ObservationLayout:
    """A layout with a further table for the step before, or, where there are no tables, with further own features."""
    if layout.entities and layout.entity_features:
        return replace(layout, more=(*layout.more, EntityTable(STEPS, features, (PREVIOUS,))))
    return replace(layout, own=(*layout.own, *(f"{PREVIOUS}.{feature}" for feature in (*features, EXISTS))))
