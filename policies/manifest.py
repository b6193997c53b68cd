"""What a bundle's manifest says: who plays with what, on which spaces, and which outputs prove it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.arrays import AgentGroup, OwnActions
from envs.layout import ObservationLayout
from policies import limits
from policies.network import Part

Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=limits.NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name of anything, without control characters: it is shown, logged, and labels figures."""
Word = Annotated[str, Field(max_length=limits.NAME)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _nothing(value: object) -> bool:
    """Entries of later releases are left out where they say nothing: bundles from before keep their hash."""
    return not value


class TableEntry(_Entry):
    """An `EntityTable`."""

    name: Name
    features: tuple[Name, ...] = Field(min_length=1, max_length=limits.FEATURES)
    entities: tuple[Name, ...] = Field(min_length=1, max_length=limits.ENTITIES)


class LayoutEntry(_Entry):
    """An `ObservationLayout`."""

    own: tuple[Name, ...] = Field(max_length=limits.FEATURES)
    entity_features: tuple[Name, ...] = Field(max_length=limits.FEATURES)
    entities: tuple[Name, ...] = Field(max_length=limits.ENTITIES)
    actions_per_entity: int = Field(ge=0, le=limits.ACTIONS)
    more: tuple[TableEntry, ...] = Field((), max_length=limits.TABLES, exclude_if=_nothing)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        layout = self.layout()
        _at_most("width of an observation", layout.size, limits.WIDTH)
        if twice := _first_twice(layout.names):
            raise ValueError(f"got the feature {twice!r} twice, allowed is once")
        return self

    def layout(self) -> ObservationLayout:
        """The layout."""
        return ObservationLayout.of(self.model_dump() | {"more": [table.model_dump() for table in self.more]})


class SpaceEntry(_Entry):
    """An action space: `continuous`, with `size` dimensions in [-1, 1], or `discrete`, with `choices` a branch."""

    kind: Literal["continuous", "discrete"]
    size: int = Field(ge=1, le=limits.ACTIONS, description="Action dimensions or branches `K`.")
    choices: tuple[Annotated[int, Field(ge=1, le=limits.CHOICES)], ...] = Field((), max_length=limits.ACTIONS)

    low: tuple[Finite, ...] = Field(
        (), max_length=limits.ACTIONS, exclude_if=_nothing, description="The env's own values of -1, or first choices."
    )
    high: tuple[Finite, ...] = Field(
        (), max_length=limits.ACTIONS, exclude_if=_nothing, description="The env's own values of 1."
    )
    whole: bool = Field(False, exclude_if=_nothing, description="Whether the env rounds its values.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        ends = (self.size if self.low else 0, self.size if self.low and self.kind == "continuous" else 0)
        if (len(self.low), len(self.high)) != ends:
            raise ValueError(
                f"got {len(self.low)} low and {len(self.high)} high values, allowed are {self.size}, or none"
            )
        branches = self.size if self.kind == "discrete" else 0
        if len(self.choices) != branches:
            raise ValueError(f"got choices of {len(self.choices)} branches, allowed are {branches}")
        _at_most("choices of all branches", sum(self.choices), limits.WIDTH)
        _at_most("branches times the largest one's choices", branches * max(self.choices, default=0), limits.TABLE)
        return self

    def space(self) -> Box | MultiDiscrete:
        """The space."""
        if self.kind == "discrete":
            return MultiDiscrete(list(self.choices))
        return Box(-1, 1, (self.size,), np.float32)

    def own_actions(self) -> OwnActions | None:
        """What actions are in the env's own values."""
        return OwnActions(self.low, self.high, self.whole) if self.low else None


class GroupEntry(_Entry):
    """A group of agents and the module that each plays with."""

    agent_ids: tuple[Name, ...] = Field(min_length=1, max_length=limits.AGENTS)
    modules: tuple[Name, ...] = Field(
        min_length=1, max_length=limits.AGENTS, description="Module ids, in the order of `agent_ids`."
    )
    layout: LayoutEntry
    action_space: SpaceEntry

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if len(self.modules) != len(self.agent_ids):
            raise ValueError(f"got modules of {len(self.modules)} agents, allowed are {len(self.agent_ids)}")
        actions = len(self.layout.entities) * self.layout.actions_per_entity
        if actions and actions != self.action_space.size:
            raise ValueError(f"got {self.action_space.size} actions, allowed by the layout are {actions}")
        return self

    @classmethod
    def of(cls, group: AgentGroup, modules: tuple[str, ...]) -> GroupEntry:
        """Describes a group."""
        space, layout = group.action_space, group.layout
        choices = tuple(int(n) for n in space.nvec) if isinstance(space, MultiDiscrete) else ()
        return cls(
            agent_ids=group.agent_ids,
            modules=modules,
            layout=LayoutEntry.model_validate(asdict(layout)),
            action_space=SpaceEntry(
                kind="discrete" if choices else "continuous",
                size=group.num_actions,
                choices=choices,
                low=group.own_actions.low if group.own_actions else (),
                high=group.own_actions.high if group.own_actions else (),
                whole=group.own_actions is not None and group.own_actions.whole,
            ),
        )

    def group(self, name: str) -> AgentGroup:
        """The group."""
        space = self.action_space
        return AgentGroup(name, self.agent_ids, space.space(), self.layout.layout(), space.own_actions())


class GoldenEntry(_Entry):
    """Rows of one module, and what it must make of them."""

    observations: tuple[tuple[float, ...], ...] = Field(min_length=1, max_length=limits.GOLDEN_ROWS)
    action_mask: tuple[tuple[bool, ...], ...]
    action_dist_inputs: tuple[tuple[float, ...], ...]
    values: tuple[float, ...] | None = None
    state: tuple[tuple[float, ...], ...] | None = Field(None, exclude_if=_nothing)
    next_state: tuple[tuple[float, ...], ...] | None = Field(None, exclude_if=_nothing)
    alive: tuple[bool, ...] | None = Field(
        None, exclude_if=_nothing, description="Of a module that reads whole worlds; rows come world by world."
    )


class FileEntry(_Entry):
    """A file of the bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="Size [bytes].")


class Manifest(_Entry):
    """What a bundle is."""

    format_version: Literal[1] = 1
    name: Name = Field(description="Name of the policy in tables and responses.")
    created: Word = Field(description="When it was exported, ISO 8601.")
    domain: Word = Field(description="The domain it plays, as `envs.registry.get_domain` takes it.")
    env_config: dict[str, Any] = Field(description="The domain's config it was trained in.")
    task: dict[str, Any] | None = Field(None, description="The task it was last trained on.")
    groups: dict[Name, GroupEntry] = Field(min_length=1, max_length=limits.GROUPS)
    recurrent: dict[Name, Annotated[int, Field(ge=1, le=limits.WIDTH)]] = Field(
        default_factory=dict,
        max_length=limits.MODULES,
        description="Width H of the recurrent state by module; modules without one are absent.",
        exclude_if=_nothing,
    )
    whole_worlds: tuple[Name, ...] = Field(
        (),
        max_length=limits.MODULES,
        description="Modules that read whole worlds, all their agents and who is alive; the others read rows.",
        exclude_if=_nothing,
    )
    golden: dict[Name, GoldenEntry] = Field(max_length=limits.MODULES, description="By module.")
    metrics: dict[Name, Finite] = Field(
        default_factory=dict, max_length=limits.ENTRIES, description="Figures of its training and evaluation."
    )
    versions: dict[Name, Word] = Field(
        default_factory=dict, max_length=limits.ENTRIES, description="Versions of the libraries that wrote it."
    )
    files: dict[str, FileEntry] = Field(default_factory=dict, description="By name; filled in when saved.")
    sha256: str = Field("", description="Hash of this manifest without this field; filled in when saved.")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        agents = [agent for group in self.groups.values() for agent in group.agent_ids]
        if twice := _first_twice(agents):
            raise ValueError(f"got the agent {twice!r} twice, allowed is once")
        spaces: dict[str, tuple[LayoutEntry, SpaceEntry]] = {}
        for name, group in self.groups.items():
            for module in set(group.modules):
                own = (group.layout, group.action_space)
                if spaces.setdefault(module, own) != own:
                    raise ValueError(f"got other spaces for {module!r} in group {name!r}, allowed are the same")
        _at_most("modules", len(spaces), limits.MODULES)
        for field, named in (("recurrent", self.recurrent), ("whole_worlds", self.whole_worlds)):
            if unknown := [module for module in named if module not in spaces]:
                raise ValueError(f"{field}: got the module {unknown[0]!r}, allowed are {', '.join(spaces)}")
        return self

    def digest(self) -> str:
        """SHA-256 of the manifest's canonical JSON, without `sha256` itself."""
        plain = self.model_dump(mode="json", exclude={"sha256"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def parts(self) -> dict[str, list[Part]]:
        """Who plays with each module, by its id."""
        parts: dict[str, list[Part]] = {}
        for name, group in self.groups.items():
            for module in dict.fromkeys(group.modules):
                agents = tuple(index for index, other in enumerate(group.modules) if other == module)
                whole = len(agents) == len(group.agent_ids)
                parts.setdefault(module, []).append(Part(name, None if whole else agents))
        return parts


def _at_most(what: str, given: int, allowed: int) -> None:
    """Raises ValueError if there is more of something than may be."""
    if given > allowed:
        raise ValueError(f"{what}: got {given}, allowed are at most {allowed}")


def _first_twice(names: Iterable[str]) -> str | None:
    """The first name that comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
