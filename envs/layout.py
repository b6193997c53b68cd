"""Names every feature of an observation and says where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIRST_TABLE = "entities"
"""Name of a layout's first table, whose entities actions may belong to."""


@dataclass(frozen=True)
class EntityTable:
    """Things of one kind that an agent sees: all have the same features, and each is there or not.

    Attributes:
        name: What they are, in the plural.
        features: Names of an entity's `F` features.
        entities: Names of the `N` entities, sized for the largest task of the run.
    """

    name: str
    features: tuple[str, ...]
    entities: tuple[str, ...]


class TablePlace(NamedTuple):
    """A table and where it lies: its values `[N x F]`, row by row, then which of its entities exist `[N]`."""

    table: EntityTable
    values: slice
    exists: slice

    def values_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of the table, `[..., N, F]` (a copy where the array is not contiguous in its last axis)."""
        values = observations[..., self.values]
        return values.reshape(*values.shape[:-1], len(self.table.entities), len(self.table.features))


@dataclass(frozen=True)
class ObservationLayout:
    """An observation is the agent's own features, then a table of entities, then which entities there are.

    A flat vector `[D]` is what spaces, networks and wires like best; this is its key:
    `own [O] | entities [N x F], row by row | mask [N], 1.0 where the entity exists`. Entities of other kinds, such as a
    node's neighbours beside its products, follow as further tables with masks of their own.

    Attributes:
        own: Names of the agent's own features.
        entity_features: Names of an entity's features.
        entities: Names of the entities (assets, products, resources), sized for the largest task of the run.
        actions_per_entity: Action dimensions (or branches) that belong to each entity, in the entities' order, so that
            `K = N * actions_per_entity`; 0 if actions do not belong to entities.
        more: Further tables, of entities that no actions belong to.

    Raises:
        ValueError: If there are further tables without a first one, or one of them is empty or has a name twice.
    """

    own: tuple[str, ...]
    entity_features: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    actions_per_entity: int = 0
    more: tuple[EntityTable, ...] = ()

    def __post_init__(self) -> None:
        """Checks the tables."""
        if self.more and not (self.entities and self.entity_features):
            raise ValueError(f"more: got {len(self.more)} tables, allowed are none where there is no first one")
        names = [FIRST_TABLE, *(table.name for table in self.more)]
        for table in self.more:
            if not (table.entities and table.features):
                raise ValueError(
                    f"more: got the table {table.name!r} without features or entities, allowed is with both"
                )
            if names.count(table.name) > 1:
                raise ValueError(f"more: got the table {table.name!r} twice, allowed is once, beside {FIRST_TABLE!r}")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ObservationLayout:
        """A layout from what `dataclasses.asdict` makes of it, whose tuples may have become lists on the way."""
        return cls(
            tuple(fields["own"]),
            tuple(fields["entity_features"]),
            tuple(fields["entities"]),
            int(fields["actions_per_entity"]),
            tuple(
                EntityTable(table["name"], tuple(table["features"]), tuple(table["entities"]))
                for table in fields.get("more", ())
            ),
        )

    @cached_property
    def places(self) -> tuple[TablePlace, ...]:
        """All tables, the first one first, and where each lies."""
        found, start = [], len(self.own)
        for table in (EntityTable(FIRST_TABLE, self.entity_features, self.entities), *self.more):
            end = start + len(table.entities) * len(table.features)
            found.append(TablePlace(table, slice(start, end), slice(end, end + len(table.entities))))
            start = end + len(table.entities)
        return tuple(found)

    @property
    def num_entities(self) -> int:
        """Entities `N`."""
        return len(self.entities)

    @cached_property
    def size(self) -> int:
        """Width `D` of the flat vector."""
        return self.places[-1].exists.stop

    @property
    def own_slice(self) -> slice:
        """Where the agent's own features lie."""
        return slice(0, len(self.own))

    @property
    def entity_slice(self) -> slice:
        """Where the first table lies."""
        return self.places[0].values

    @property
    def mask_slice(self) -> slice:
        """Where the mask of the first table's entities lies."""
        return self.places[0].exists

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each of the `D` features, such as `drawdown`, `AAPL.rsi` and `AAPL.exists`."""
        names = list(self.own)
        for table, _, _ in self.places:
            names += [f"{entity}.{feature}" for entity in table.entities for feature in table.features]
            names += [f"{entity}.exists" for entity in table.entities]
        return tuple(names)

    def own_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of the agent's own features, `[..., O]`."""
        return observations[..., self.own_slice]

    def entities_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of the first table, `[..., N, F]` (a copy where the array is not contiguous in its last axis)."""
        return self.places[0].values_of(observations)

    def mask_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of which of the first table's entities exist, `[..., N]`."""
        return observations[..., self.mask_slice]

    def feature_of(self, observations: NDArray[np.float32], feature: str) -> NDArray[np.float32]:
        """One feature of all entities of the first table, `[..., N]`.

        Raises:
            ValueError: If entities have no such feature.
        """
        if feature not in self.entity_features:
            raise ValueError(f"feature: got {feature!r}, allowed are {', '.join(self.entity_features)}")
        return self.entities_of(observations)[..., self.entity_features.index(feature)]
