"""What all policies made of networks share: which rows go to which module, and how its outputs become actions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import Actions, AgentGroup, BatchedEnv, BoolArray, FloatArray, IntArray, Observation
from policies.base import Policy, PolicyState
from policies.decoding import env_actions, greedy, sample


@dataclass(frozen=True)
class Part:
    """Agents of one group that play with one module.

    Attributes:
        group: Name of the group.
        agents: Where they lie on the group's agent axis; None: all of them, however many there are.
    """

    group: str
    agents: tuple[int, ...] | None = None

    @property
    def index(self) -> Any:
        """Index into the agent axis."""
        return slice(None) if self.agents is None else np.array(self.agents)


@dataclass(frozen=True)
class Rows:
    """What one module reads.

    Attributes:
        observations: Float32 `[N, D]`.
        masks: Action masks, bool `[N, M]`; true where allowed.
        state: Recurrent state, float32 `[N, H]`; None where the module has none.
    """

    observations: FloatArray
    masks: BoolArray
    state: FloatArray | None = None


class NetworkPolicy(Policy):
    """Plays networks, one a module, on the groups of an env.

    Args:
        groups: The agents the networks were trained for, by group.
        modules: Who plays with each module, by its id.
        state_sizes: Width `H` of the recurrent state, by module; those that have none are absent.
    """

    def __init__(
        self,
        groups: Mapping[str, AgentGroup],
        modules: Mapping[str, Sequence[Part]],
        state_sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.groups = dict(groups)
        self.modules = {module: tuple(parts) for module, parts in modules.items()}
        self.state_sizes = dict(state_sizes or {})

    @abstractmethod
    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Inputs of the action distributions `[N, P]`, by module, for what each module reads."""

    def advance(self, rows: Mapping[str, Rows]) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """What `dist_inputs` returns, and the next recurrent states `[N, H]` of the modules that have any."""
        return self.dist_inputs(rows), {}

    def spaces_of(self, module: str) -> AgentGroup:
        """A group whose layout and action space are the module's."""
        return self.groups[self.modules[module][0].group]

    def bind(self, env: BatchedEnv) -> None:
        """Checks that the env's groups are those the networks were trained for.

        Raises:
            ValueError: If a group is missing or differs; where one module plays a whole group, its number of agents
                may differ.
        """
        if set(env.groups) != set(self.groups):
            raise ValueError(f"{self.name}: got groups {sorted(env.groups)}, allowed are {sorted(self.groups)}")
        fixed = {part.group for parts in self.modules.values() for part in parts if part.agents is not None}
        for name, trained in self.groups.items():
            given = env.groups[name]
            if given.layout != trained.layout:
                what, allowed = _difference(given, trained)
                raise ValueError(f"{self.name}: got {what} in group {name!r}, allowed is {allowed}")
            if given.action_space != trained.action_space:
                raise ValueError(
                    f"{self.name}: got actions {given.action_space} in group {name!r}, allowed is "
                    f"{trained.action_space}"
                )
            if name in fixed and given.size != trained.size:
                raise ValueError(f"{self.name}: got {given.size} agents in group {name!r}, allowed is {trained.size}")

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Chooses actions for all agents; those of agents not alive are arbitrary but valid.

        The state of recurrent networks is kept by module, one array `[B, A, H]` for each of its parts.
        """
        rows = {module: self._rows(observation, module) for module in self.modules}
        for module, size in self.state_sizes.items():
            given, memory = rows[module], (state or {}).get(module)
            shape = (len(given.observations), size)
            old = (
                np.zeros(shape, np.float32) if memory is None else np.concatenate([m.reshape(-1, size) for m in memory])
            )
            rows[module] = Rows(given.observations, given.masks, old)
        outputs, states = self.advance(rows)
        kept: dict[str, tuple[FloatArray, ...]] = {}
        actions: dict[str, NDArray[Any]] = {}
        for module, parts in self.modules.items():
            space = self.spaces_of(module).action_space
            chosen = greedy(outputs[module], space) if deterministic else sample(outputs[module], space, rng)
            chosen = env_actions(chosen, space, rows[module].masks)
            start = 0
            memories: list[FloatArray] = []
            for part in parts:
                worlds, agents, _ = observation.observations[part.group].shape
                if part.group not in actions:
                    actions[part.group] = np.empty((worlds, agents, chosen.shape[-1]), chosen.dtype)
                size = worlds * (agents if part.agents is None else len(part.agents))
                actions[part.group][:, part.index] = chosen[start : start + size].reshape(worlds, -1, chosen.shape[-1])
                if module in states:
                    memories.append(states[module][start : start + size].reshape(worlds, -1, self.state_sizes[module]))
                start += size
            if memories:
                kept[module] = tuple(memories)
        return actions, kept or None

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """The state with zeros, as at the start, in the given worlds."""
        if state is None:
            return None
        forgotten = {module: tuple(memory.copy() for memory in memories) for module, memories in state.items()}
        for memories in forgotten.values():
            for memory in memories:
                memory[worlds] = 0.0
        return forgotten

    def _rows(self, observation: Observation, module: str) -> Rows:
        """What a module reads, its parts one after the other, each world by world."""
        observations, masks = [], []
        for part in self.modules[module]:
            seen = observation.observations[part.group][:, part.index]
            observations.append(seen.reshape(-1, seen.shape[-1]))
            mask = observation.action_masks.get(part.group)
            if mask is None:
                masks.append(np.ones((len(observations[-1]), self.groups[part.group].mask_size), np.bool_))
            else:
                masks.append(mask[:, part.index].reshape(-1, mask.shape[-1]))
        if len(observations) == 1:
            return Rows(observations[0], masks[0])
        return Rows(np.concatenate(observations), np.concatenate(masks))


def _difference(given: AgentGroup, trained: AgentGroup) -> tuple[str, str]:
    """Where two layouts first differ, in words: what is given, and what is allowed."""
    for field in ("own", "entity_features", "entities", "actions_per_entity", "more"):
        one, other = getattr(given.layout, field), getattr(trained.layout, field)
        if one != other:
            return f"layout.{field} {one}", str(other)
    return "another layout", "the one trained on"
