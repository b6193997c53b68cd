"""Lets a policy trained on many entities act where there are fewer: 15 simulated assets, then four real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from envs.base import Actions, AgentGroup, BatchedEnv, BoolArray, FloatArray, IntArray, Observation
from envs.layout import TablePlace
from envs.recall import STEPS
from policies.base import Policy, PolicyState


class FittedPolicy(Policy):
    """Shows a policy the entities there are in the first places of the table it was trained with, the rest absent.

    By the env contract that is what the larger env itself would show for a task of so few entities.

    Args:
        policy: A policy trained in `home`.
        home: An env with the spaces of its training.
    """

    def __init__(self, policy: Policy, home: BatchedEnv) -> None:
        self.name = policy.name
        self._policy = policy
        self._home = home
        self._groups: dict[str, AgentGroup] = {}

    def bind(self, env: BatchedEnv) -> None:
        """Checks that the policy can act in `env`.

        Raises:
            ValueError: If `env` has other agents, other features or more entities than the policy was trained with.
        """
        if set(env.groups) != set(self._home.groups):
            raise ValueError(f"groups: got {', '.join(env.groups)}, allowed are {', '.join(self._home.groups)}")
        for name, group in env.groups.items():
            _check(group, self._home.groups[name])
        self._policy.bind(self._home)
        self._groups = env.groups

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Pads what is seen, asks the policy, and keeps the actions of the entities there are."""
        shown: dict[str, FloatArray] = {}
        masks: dict[str, BoolArray] = {}
        for name, group in self._groups.items():
            home = self._home.groups[name]
            shown[name] = _pad(observation.observations[name], group, home)
            masks[name] = _pad_mask(observation.action_masks.get(name), shown[name].shape[:2], group, home)
        worlds = next(iter(shown.values())).shape[0]
        width = self._home.state_space.shape[0] if self._home.state_space.shape else 0
        # Acting is decentralised: the global state is for critics, and is left empty.
        padded = Observation(shown, masks, observation.alive, np.zeros((worlds, width), np.float32))
        actions, state = self._policy.act(padded, state, deterministic=deterministic, rng=rng)
        return {
            name: np.ascontiguousarray(actions[name][..., : group.num_actions]) for name, group in self._groups.items()
        }, state

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """What the policy itself forgets."""
        return self._policy.forget(state, worlds)


def same_spaces(first: BatchedEnv, second: BatchedEnv) -> bool:
    """Whether a policy of one env can act in the other as it is."""
    return {n: (g.action_space, g.layout, g.size) for n, g in first.groups.items()} == {
        n: (g.action_space, g.layout, g.size) for n, g in second.groups.items()
    }


def _check(group: AgentGroup, home: AgentGroup) -> None:
    """Raises ValueError unless `home`, less some entities, is `group`."""
    mine, theirs = group.layout, home.layout
    if group.size != home.size:
        raise ValueError(f"{group.name}: got {group.size} agents, allowed are {home.size}, as in training")
    tables = [[place.table.name for place in layout.places] for layout in (mine, theirs)]
    if mine.own != theirs.own or tables[0] != tables[1] or not all(map(_alike, mine.places, theirs.places)):
        raise ValueError(f"{group.name}: got features other than the policy was trained with, allowed are the same")
    for (here, _, _), (there, _, _) in zip(mine.places, theirs.places, strict=True):
        given, most = len(here.entities), len(there.entities)
        if given > most:
            raise ValueError(f"{group.name}: got {given} {here.name}, allowed are at most {most}, as in training")
    same = mine.num_entities == theirs.num_entities
    if not same and not (mine.actions_per_entity == theirs.actions_per_entity > 0):
        raise ValueError(f"{group.name}: actions do not belong to entities, so none of these can be left out")
    if isinstance(group.action_space, MultiDiscrete) != isinstance(home.action_space, MultiDiscrete) or not (
        _choices(group) == _choices(home)[: group.num_actions]
    ):
        raise ValueError(f"{group.name}: got {group.action_space}, allowed is the start of {home.action_space}")


def _alike(here: TablePlace, there: TablePlace) -> bool:
    """Whether entities have the same features; of the step before those of the first so many actions are enough."""
    given, known = here.table.features, there.table.features
    return given == (known[: len(given)] if here.table.name == STEPS else known)


def _choices(group: AgentGroup) -> list[int]:
    """Choices of each branch; 1 for a continuous dimension."""
    if isinstance(group.action_space, MultiDiscrete):
        return [int(count) for count in group.action_space.nvec]
    assert isinstance(group.action_space, Box)
    return [1] * group.num_actions


def _pad(seen: FloatArray, group: AgentGroup, home: AgentGroup) -> FloatArray:
    """Observations `[B, A, D]` in the places where the larger layout has them."""
    mine, theirs = group.layout, home.layout
    padded = np.zeros((*seen.shape[:2], theirs.size), np.float32)
    padded[..., theirs.own_slice] = mine.own_of(seen)
    for here, there in zip(mine.places, theirs.places, strict=True):
        for given, place in ((here.values, there.values), (here.exists, there.exists)):
            padded[..., place.start : place.start + given.stop - given.start] = seen[..., given]
    return padded


def _pad_mask(mask: BoolArray | None, shape: tuple[int, ...], group: AgentGroup, home: AgentGroup) -> NDArray[Any]:
    """Masks `[B, A, M]`: absent dimensions are closed, absent branches leave one choice, the middle one."""
    padded = np.zeros((*shape, home.mask_size), np.bool_)
    padded[..., : group.mask_size] = True if mask is None else mask
    if home.discrete:
        start = group.mask_size
        for choices in _choices(home)[group.num_actions :]:
            padded[..., start + choices // 2] = True
            start += choices
    return padded
