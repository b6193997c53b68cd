"""Names every feature of an observation and says where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ObservationLayout:
    """An observation is the agent's own features, then a table of entities, then which entities there are.

    A flat vector `[D]` is what spaces, networks and wires like best; this is its key:
    `own [O] | entities [N x F], row by row | mask [N], 1.0 where the entity exists`.

    Attributes:
        own: Names of the agent's own features.
        entity_features: Names of an entity's features.
        entities: Names of the entities (assets, products, resources), sized for the largest task of the run.
        actions_per_entity: Action dimensions (or branches) that belong to each entity, in the entities' order, so that
            `K = N * actions_per_entity`; 0 if actions do not belong to entities.
    """

    own: tuple[str, ...]
    entity_features: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    actions_per_entity: int = 0

    @property
    def num_entities(self) -> int:
        """Entities `N`."""
        return len(self.entities)

    @cached_property
    def size(self) -> int:
        """Width `D` of the flat vector."""
        return len(self.own) + self.num_entities * (len(self.entity_features) + 1)

    @property
    def own_slice(self) -> slice:
        """Where the agent's own features lie."""
        return slice(0, len(self.own))

    @property
    def entity_slice(self) -> slice:
        """Where the table of entities lies."""
        return slice(len(self.own), self.size - self.num_entities)

    @property
    def mask_slice(self) -> slice:
        """Where the entities' mask lies."""
        return slice(self.size - self.num_entities, self.size)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each of the `D` features, such as `drawdown`, `AAPL.rsi` and `AAPL.exists`."""
        table = (f"{entity}.{feature}" for entity in self.entities for feature in self.entity_features)
        return (*self.own, *table, *(f"{entity}.exists" for entity in self.entities))

    def own_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of the agent's own features, `[..., O]`."""
        return observations[..., self.own_slice]

    def entities_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of the table of entities, `[..., N, F]` (a copy where the array is not contiguous in its last axis)."""
        table = observations[..., self.entity_slice]
        return table.reshape(*table.shape[:-1], self.num_entities, len(self.entity_features))

    def mask_of(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of which entities exist, `[..., N]`."""
        return observations[..., self.mask_slice]

    def feature_of(self, observations: NDArray[np.float32], feature: str) -> NDArray[np.float32]:
        """One feature of all entities, `[..., N]`.

        Raises:
            ValueError: If entities have no such feature.
        """
        if feature not in self.entity_features:
            raise ValueError(f"feature: got {feature!r}, allowed are {', '.join(self.entity_features)}")
        return self.entities_of(observations)[..., self.entity_features.index(feature)]
