"""What all policies made of networks share: which rows go to which module, and how its outputs become actions.

Most networks read an agent's row by itself. Those whose agents need each other (they exchange messages, say) read
whole worlds, `[W, A, …]`, and who is alive in them. Around a network all is rows, a row an agent, world by world; only
where it is run do rows become worlds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
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
    """What one module reads: a row an agent, world by world.

    Attributes:
        observations: Float32 `[N, D]`.
        masks: Action masks, bool `[N, M]`; true where allowed.
        state: Recurrent state, float32 `[N, H]`; None where the module has none.
        alive: Who is there, bool `[N]`, where the module reads whole worlds; None where it reads each row by itself.
    """

    observations: FloatArray
    masks: BoolArray
    state: FloatArray | None = None
    alive: BoolArray | None = None

    def first(self, count: int) -> Rows:
        """The first rows alone."""
        state, alive = self.state, self.alive
        return Rows(
            self.observations[:count],
            self.masks[:count],
            None if state is None else state[:count],
            None if alive is None else alive[:count],
        )


class NetworkPolicy(Policy):
    """Plays networks, one a module, on the groups of an env.

    Args:
        groups: The agents the networks were trained for, by group.
        modules: Who plays with each module, by its id.
        state_sizes: Width `H` of the recurrent state, by module; those that have none are absent.
        whole_worlds: Modules that read whole worlds.

    Attributes:
        team_sizes: Agents `A` of a world, by module, of those that read whole worlds.
    """

    def __init__(
        self,
        groups: Mapping[str, AgentGroup],
        modules: Mapping[str, Sequence[Part]],
        state_sizes: Mapping[str, int] | None = None,
        whole_worlds: Collection[str] = (),
    ) -> None:
        self.groups = dict(groups)
        self.modules = {module: tuple(parts) for module, parts in modules.items()}
        self.state_sizes = dict(state_sizes or {})
        self.team_sizes = {module: len(self.agents_of(module)) for module in whole_worlds}

    @abstractmethod
    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Inputs of the action distributions `[N, P]`, by module, for what each module reads."""

    def advance(self, rows: Mapping[str, Rows]) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """What `dist_inputs` returns, and the next recurrent states `[N, H]` of the modules that have any."""
        return self.dist_inputs(rows), {}

    def spaces_of(self, module: str) -> AgentGroup:
        """A group whose layout and action space are the module's."""
        return self.groups[self.modules[module][0].group]

    def agents_of(self, module: str) -> tuple[str, ...]:
        """The agents that play with a module, in the order of its rows of a world."""
        agents: list[str] = []
        for part in self.modules[module]:
            ids = self.groups[part.group].agent_ids
            agents += ids if part.agents is None else [ids[index] for index in part.agents]
        return tuple(agents)

    def bind(self, env: BatchedEnv) -> None:
        """Checks that the env's groups are those the networks were trained for.

        Raises:
            ValueError: If a group is missing or differs; where one module plays a whole group and reads each row by
                itself, its number of agents may differ.
        """
        if set(env.groups) != set(self.groups):
            raise ValueError(f"{self.name}: got groups {sorted(env.groups)}, allowed are {sorted(self.groups)}")
        fixed = {
            part.group
            for module, parts in self.modules.items()
            for part in parts
            if part.agents is not None or module in self.team_sizes
        }
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

        The state of recurrent networks is kept by module, `[B, A, H]`; agents that are not alive keep what they had.
        """
        rows = {module: self._rows(observation, module, (state or {}).get(module)) for module in self.modules}
        outputs, states = self.advance(rows)
        actions: dict[str, NDArray[Any]] = {}
        for module, parts in self.modules.items():
            space = self.spaces_of(module).action_space
            chosen = greedy(outputs[module], space) if deterministic else sample(outputs[module], space, rng)
            chosen = env_actions(chosen, space, rows[module].masks)
            start = 0
            for part in parts:
                worlds, agents, _ = observation.observations[part.group].shape
                if part.group not in actions:
                    actions[part.group] = np.empty((worlds, agents, chosen.shape[-1]), chosen.dtype)
                stop = start + (agents if part.agents is None else len(part.agents))
                own = chosen.reshape(worlds, -1, chosen.shape[-1])[:, start:stop]
                actions[part.group][:, part.index] = own
                start = stop
        kept = {}
        for module, moved in states.items():
            alive = self._alive(observation, module)
            before = rows[module].state
            assert before is not None
            held = moved if alive.all() else np.where(alive.reshape(-1, 1), moved, before)
            kept[module] = held.reshape(*alive.shape, -1)
        return actions, kept or None

    def forget(self, state: PolicyState, worlds: IntArray) -> PolicyState:
        """The state with zeros, as at the start, in the given worlds."""
        if state is None:
            return None
        forgotten = {module: memory.copy() for module, memory in state.items()}
        for memory in forgotten.values():
            memory[worlds] = 0.0
        return forgotten

    def _rows(self, observation: Observation, module: str, memory: FloatArray | None = None) -> Rows:
        """What a module reads, world by world, each with the agents of its parts one after the other."""
        parts = self.modules[module]
        seen, masks = observation.observations, observation.action_masks
        observations = _rows_of([seen[part.group][:, part.index] for part in parts])
        width = self.spaces_of(module).mask_size
        if any(part.group in masks for part in parts):
            allowed = _rows_of(
                [
                    masks[part.group][:, part.index]
                    if part.group in masks
                    else np.ones((*seen[part.group][:, part.index].shape[:2], width), np.bool_)
                    for part in parts
                ]
            )
        else:
            allowed = np.ones((len(observations), width), np.bool_)
        alive = self._alive(observation, module).ravel() if module in self.team_sizes else None
        size = self.state_sizes.get(module)
        if size is None:
            return Rows(observations, allowed, alive=alive)
        if memory is None:
            return Rows(observations, allowed, np.zeros((len(observations), size), np.float32), alive)
        return Rows(observations, allowed, memory.reshape(-1, size), alive)

    def _alive(self, observation: Observation, module: str) -> BoolArray:
        """Who of those that play with a module is there, `[B, A]`."""
        return np.concatenate([observation.alive[part.group][:, part.index] for part in self.modules[module]], axis=1)


def _rows_of(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays `[B, A, …]` of the parts of a module as its rows: a view where there is one part."""
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return joined.reshape(-1, joined.shape[-1])


def _difference(given: AgentGroup, trained: AgentGroup) -> tuple[str, str]:
    """Where two layouts first differ, in words: what is given, and what is allowed."""
    for field in ("own", "entity_features", "entities", "actions_per_entity", "more"):
        one, other = getattr(given.layout, field), getattr(trained.layout, field)
        if one != other:
            return f"layout.{field} {one}", str(other)
    return "another layout", "the one trained on"
