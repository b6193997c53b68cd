"""Which policy network each agent plays with: one for all, one a role, or one an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from envs.base import AgentGroup, IntArray

PolicyMode = Literal["shared", "per_role", "per_agent"]


@dataclass(frozen=True)
class ModuleSlice:
    """Agents of one group that play with one module.

    Attributes:
        group: The group.
        agents: Where they lie on the group's agent axis.
        columns: Where they lie on the module's agent axis.
    """

    group: str
    agents: slice
    columns: slice


class PolicyMapping:
    """Assigns the agents of all groups to modules, and moves arrays between the two.

    Groups hold arrays `[B, A_g, …]`, modules arrays `[B, A_m, …]`; a module's agent axis joins those of its slices, in
    the order of `modules[module_id]`.

    Args:
        mode: `shared`: one module `"shared"` for all agents; `per_role`: one a group, named after it; `per_agent`: one
            an agent, named after it.
        groups: The env's groups, by name.

    Attributes:
        modules: The slices of each module, by its id.

    Raises:
        ValueError: If the mode is unknown, or agents with different spaces would share a module.
    """

    def __init__(self, mode: PolicyMode, groups: Mapping[str, AgentGroup]) -> None:
        if mode not in get_args(PolicyMode):
            raise ValueError(f"policies: got {mode!r}, allowed are {', '.join(get_args(PolicyMode))}")
        self.mode: PolicyMode = mode
        self.groups = dict(groups)
        self.modules: dict[str, tuple[ModuleSlice, ...]] = {}
        if mode == "shared":
            self._check_alike()
            ends = np.cumsum([0, *(group.size for group in self.groups.values())]).tolist()
            self.modules["shared"] = tuple(
                ModuleSlice(group.name, slice(0, group.size), slice(start, stop))
                for group, start, stop in zip(self.groups.values(), ends[:-1], ends[1:], strict=True)
            )
        elif mode == "per_role":
            for group in self.groups.values():
                self.modules[group.name] = (ModuleSlice(group.name, slice(0, group.size), slice(0, group.size)),)
        else:
            for group in self.groups.values():
                for index, agent in enumerate(group.agent_ids):
                    self.modules[agent] = (ModuleSlice(group.name, slice(index, index + 1), slice(0, 1)),)

    def _check_alike(self) -> None:
        """Raises ValueError unless all groups have the same layout and action space."""
        first, *others = self.groups.values()
        for group in others:
            if (group.layout, group.action_space) != (first.layout, first.action_space):
                raise ValueError(
                    f"policies: got 'shared', but groups {first.name!r} and {group.name!r} have different spaces; "
                    "allowed are per_role, per_agent"
                )

    def module_of(self, group: str, agent_index: int) -> str:
        """Id of the module that an agent of a group plays with."""
        if self.mode == "shared":
            return "shared"
        return group if self.mode == "per_role" else self.groups[group].agent_ids[agent_index]

    @property
    def agent_modules(self) -> dict[str, str]:
        """Module id by agent id, for manifests and dict-based interfaces."""
        return {
            agent: self.module_of(group.name, index)
            for group in self.groups.values()
            for index, agent in enumerate(group.agent_ids)
        }

    def module_spaces(self, module_id: str) -> AgentGroup:
        """A group whose spaces and layout are the module's."""
        return self.groups[self.modules[module_id][0].group]

    def size(self, module_id: str) -> int:
        """Number of agents `A_m` that play with the module in each world."""
        return int(self.modules[module_id][-1].columns.stop)

    def places(self, module_id: str) -> IntArray:
        """Where the module's agents stand among all of the env's, group by group, int64 `[A_m]`."""
        first, numbers = 0, {}
        for group in self.groups.values():
            numbers[group.name] = np.arange(first, first + group.size)[None]
            first += group.size
        return self.gather(numbers, module_id)[0]

    def gather(self, arrays: Mapping[str, NDArray[Any]], module_id: str) -> NDArray[Any]:
        """One module's view of arrays by group.

        Args:
            arrays: By group, `[B, A_g, …]`.
            module_id: The module.

        Returns:
            `[B, A_m, …]`: a view where the module plays in one group only, a new array otherwise.
        """
        parts = [arrays[part.group][:, part.agents] for part in self.modules[module_id]]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def scatter(self, out: Mapping[str, NDArray[Any]], module_id: str, values: NDArray[Any]) -> None:
        """Writes a module's array `[B, A_m, …]` into arrays by group `[B, A_g, …]`."""
        for part in self.modules[module_id]:
            out[part.group][:, part.agents] = values[:, part.columns]
