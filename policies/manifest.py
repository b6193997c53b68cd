"""What a bundle's manifest says: who plays with what, on which spaces, and which outputs prove it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import BaseModel, ConfigDict, Field

from envs.base import AgentGroup
from envs.layout import ObservationLayout
from policies.network import Part

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayoutEntry(_Entry):
    """An `ObservationLayout`."""

    own: tuple[str, ...]
    entity_features: tuple[str, ...]
    entities: tuple[str, ...]
    actions_per_entity: int = Field(ge=0)

    def layout(self) -> ObservationLayout:
        """The layout."""
        return ObservationLayout(self.own, self.entity_features, self.entities, self.actions_per_entity)


class SpaceEntry(_Entry):
    """An action space: `continuous`, with `size` dimensions in [-1, 1], or `discrete`, with `choices` a branch."""

    kind: Literal["continuous", "discrete"]
    size: int = Field(ge=1, description="Action dimensions or branches `K`.")
    choices: tuple[int, ...] = ()

    def space(self) -> Box | MultiDiscrete:
        """The space."""
        if self.kind == "discrete":
            return MultiDiscrete(list(self.choices))
        return Box(-1, 1, (self.size,), np.float32)


class GroupEntry(_Entry):
    """A group of agents and the module that each plays with."""

    agent_ids: tuple[str, ...] = Field(min_length=1)
    modules: tuple[str, ...] = Field(min_length=1, description="Module ids, in the order of `agent_ids`.")
    layout: LayoutEntry
    action_space: SpaceEntry

    @classmethod
    def of(cls, group: AgentGroup, modules: tuple[str, ...]) -> GroupEntry:
        """Describes a group."""
        space, layout = group.action_space, group.layout
        choices = tuple(int(n) for n in space.nvec) if isinstance(space, MultiDiscrete) else ()
        return cls(
            agent_ids=group.agent_ids,
            modules=modules,
            layout=LayoutEntry(
                own=layout.own,
                entity_features=layout.entity_features,
                entities=layout.entities,
                actions_per_entity=layout.actions_per_entity,
            ),
            action_space=SpaceEntry(
                kind="discrete" if choices else "continuous", size=group.num_actions, choices=choices
            ),
        )

    def group(self, name: str) -> AgentGroup:
        """The group."""
        return AgentGroup(name, self.agent_ids, self.action_space.space(), self.layout.layout())


def _nothing(value: object) -> bool:
    """Entries of later releases are left out where they say nothing: bundles from before keep their hash."""
    return not value


class GoldenEntry(_Entry):
    """Rows of one module, and what it must make of them."""

    observations: tuple[tuple[float, ...], ...] = Field(min_length=1)
    action_mask: tuple[tuple[bool, ...], ...]
    action_dist_inputs: tuple[tuple[float, ...], ...]
    values: tuple[float, ...] | None = None
    state: tuple[tuple[float, ...], ...] | None = Field(None, exclude_if=_nothing)
    next_state: tuple[tuple[float, ...], ...] | None = Field(None, exclude_if=_nothing)


class FileEntry(_Entry):
    """A file of the bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="Size [bytes].")


class Manifest(_Entry):
    """What a bundle is."""

    format_version: Literal[1] = 1
    name: str = Field(min_length=1, description="Name of the policy in tables and responses.")
    created: str = Field(description="When it was exported, ISO 8601.")
    domain: str = Field(description="The domain it plays, as `envs.registry.get_domain` takes it.")
    env_config: dict[str, Any] = Field(description="The domain's config it was trained in.")
    task: dict[str, Any] | None = Field(None, description="The task it was last trained on.")
    groups: dict[str, GroupEntry] = Field(min_length=1)
    recurrent: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="Width H of the recurrent state by module; modules without one are absent.",
        exclude_if=_nothing,
    )
    golden: dict[str, GoldenEntry] = Field(description="By module.")
    metrics: dict[str, Finite] = Field(default_factory=dict, description="Figures of its training and evaluation.")
    versions: dict[str, str] = Field(default_factory=dict, description="Versions of the libraries that wrote it.")
    files: dict[str, FileEntry] = Field(default_factory=dict, description="By name; filled in when saved.")
    sha256: str = Field("", description="Hash of this manifest without this field; filled in when saved.")

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
