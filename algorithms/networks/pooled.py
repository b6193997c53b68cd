"""A thin network over sets of entities, whose parameters do not depend on how many there are.

One small layer is shared by all entities of a table; the trunk reads the tables' means (Zaheer et al. 2017, "Deep
Sets") and the agent's own features; each entity's actions come from its own embedding times a query from the trunk.
What is learned on two assets therefore holds for fifteen. It is thin because it runs at every step of every world.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.networks.config import NetworkConfig
from algorithms.networks.flat import with_extra
from algorithms.networks.layers import activation, hidden_gain, linear, mlp
from envs.layout import ObservationLayout, TablePlace


class TableEncoder(nn.Module):
    """Embeds a table's entities, and averages those that exist.

    Args:
        place: The table and where it lies.
        config: Sizes.
        own: Width of the agent's own features.
    """

    def __init__(self, place: TablePlace, config: NetworkConfig, own: int) -> None:
        super().__init__()
        gain = hidden_gain(config.activation)
        self.place = place
        self.entity = linear(len(place.table.features), config.entity_width, gain)
        self.own = linear(own, config.entity_width, gain) if config.own_in_entities and own else None
        self.activation = activation(config.activation)

    def forward(self, observations: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """The mean `[N, W]` and the embeddings `[N, E, W]`, from observations `[N, D]` with own features `[N, O]`."""
        table, values, exists = self.place
        embedded = self.entity(observations[:, values].unflatten(1, (len(table.entities), len(table.features))))
        if self.own is not None:
            embedded = embedded + self.own(own).unsqueeze(1)
        embedded = self.activation(embedded)
        there = observations[:, exists]
        share = there / there.sum(dim=1, keepdim=True).clamp_min(1.0)
        return torch.bmm(share.unsqueeze(1), embedded).squeeze(1), embedded


class PooledEncoder(nn.Module):
    """Embeds the entities that exist, averages each table, and runs a trunk over the averages and the own features.

    Args:
        layout: What lies where in an observation; it must hold a table of entities.
        config: Sizes.
        extra: Width of what else the trunk reads (the global state, for a critic).
    """

    def __init__(self, layout: ObservationLayout, config: NetworkConfig, extra: int = 0) -> None:
        super().__init__()
        own = len(layout.own)
        self.own_slice = layout.own_slice
        self.tables = nn.ModuleList(TableEncoder(place, config, own) for place in layout.places)
        self.trunk = mlp(config.entity_width * len(self.tables) + own + extra, config.sizes, config.activation)
        self.width = config.sizes[-1]

    def forward(self, observations: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encodes normalised observations.

        Args:
            observations: `[N, D]`.
            extra: What else the trunk reads, `[N, X]`.

        Returns:
            The trunk `[N, H]`, and the embeddings of the first table's entities `[N, E, W]`.
        """
        own = observations[:, self.own_slice]
        encoded = [table(observations, own) for table in self.tables]
        pooled = torch.cat([*(mean for mean, _ in encoded), own], dim=1)
        return self.trunk(with_extra(pooled, extra)), encoded[0][1]


class EntityHead(nn.Module):
    """Each entity's outputs: its embedding times queries that the trunk asks, the same of all entities.

    Products are divided by the root of the embedding's width, so that they do not grow with it (Vaswani et al. 2017).

    Args:
        inputs: Width `H` of the trunk.
        embedding: Width `W` of the entities' embeddings.
        outputs: Outputs `P` an entity.
        gain: Gain of the initial weights.
    """

    def __init__(self, inputs: int, embedding: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.query = linear(inputs, outputs * embedding, gain)
        self.level = linear(inputs, outputs, gain)
        self.shape = (outputs, embedding)
        self.scale = embedding**-0.5

    def forward(self, trunk: Tensor, entities: Tensor) -> Tensor:
        """Outputs `[N, E * P]`, entity by entity, from the trunk `[N, H]` and the embeddings `[N, E, W]`."""
        query = self.query(trunk).unflatten(1, self.shape)
        answers = torch.baddbmm(self.level(trunk).unsqueeze(1), entities, query.transpose(1, 2), alpha=self.scale)
        return answers.flatten(1)
