"""A thin network over a set of entities, whose parameters do not depend on how many there are.

One small layer is shared by all entities; the trunk reads their mean (Zaheer et al. 2017, "Deep Sets") and the agent's
own features; each entity's actions come from its own embedding times a query from the trunk. What is learned on two
assets therefore holds for fifteen. It is thin because it runs at every step of every world.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.networks.config import NetworkConfig
from algorithms.networks.flat import with_extra
from algorithms.networks.layers import activation, hidden_gain, linear, mlp
from envs.layout import ObservationLayout


class PooledEncoder(nn.Module):
    """Embeds the entities that exist, averages them, and runs a trunk over the average and the own features.

    Args:
        layout: What lies where in an observation; it must hold a table of entities.
        config: Sizes.
        extra: Width of what else the trunk reads (the global state, for a critic).
    """

    def __init__(self, layout: ObservationLayout, config: NetworkConfig, extra: int = 0) -> None:
        super().__init__()
        own, features = len(layout.own), len(layout.entity_features)
        self.layout = layout
        gain = hidden_gain(config.activation)
        self.entity = linear(features, config.entity_width, gain)
        self.own = linear(own, config.entity_width, gain) if config.own_in_entities and own else None
        self.activation = activation(config.activation)
        self.trunk = mlp(config.entity_width + own + extra, config.sizes, config.activation)
        self.width = config.sizes[-1]

    def forward(self, observations: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encodes normalised observations.

        Args:
            observations: `[N, D]`.
            extra: What else the trunk reads, `[N, X]`.

        Returns:
            The trunk `[N, H]`, and the entities' embeddings `[N, E, W]`.
        """
        layout = self.layout
        own = observations[:, layout.own_slice]
        table = observations[:, layout.entity_slice].unflatten(1, (layout.num_entities, len(layout.entity_features)))
        exists = observations[:, layout.mask_slice]
        embedded = self.entity(table)
        if self.own is not None:
            embedded = embedded + self.own(own).unsqueeze(1)
        embedded = self.activation(embedded)
        share = exists / exists.sum(dim=1, keepdim=True).clamp_min(1.0)
        pooled = torch.bmm(share.unsqueeze(1), embedded).squeeze(1)
        return self.trunk(with_extra(torch.cat([pooled, own], dim=1), extra)), embedded


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
