"""A plain MLP over the whole observation, as stock RLlib has it: for comparison, and for problems without entities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.networks.config import NetworkConfig
from algorithms.networks.layers import linear, mlp
from envs.layout import ObservationLayout


class FlatEncoder(nn.Module):
    """Hidden layers over the normalised observation.

    Args:
        layout: What lies where in an observation.
        config: Sizes.
        extra: Width of what else is read (the global state, for a critic).
    """

    def __init__(self, layout: ObservationLayout, config: NetworkConfig, extra: int = 0) -> None:
        super().__init__()
        self.trunk = mlp(layout.size + extra, config.sizes, config.activation)
        self.width = config.sizes[-1]

    def forward(self, observations: Tensor, extra: Tensor | None = None) -> tuple[Tensor, None]:
        """Encodes normalised observations `[N, D]`, and what else there is, `[N, X]`, as `[N, H]`."""
        return self.trunk(with_extra(observations, extra)), None


class FlatHead(nn.Module):
    """A linear layer from the trunk to all outputs of the policy.

    Args:
        inputs: Width `H` of the trunk.
        outputs: Number of outputs.
        gain: Gain of the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.layer = linear(inputs, outputs, gain)

    def forward(self, trunk: Tensor, entities: Tensor | None) -> Tensor:
        """Outputs `[N, outputs]` from the trunk `[N, H]`; entities are not looked at."""
        outputs: Tensor = self.layer(trunk)
        return outputs


def with_extra(inputs: Tensor, extra: Tensor | None) -> Tensor:
    """Sets `[N, X]` beside `[N, H]`, if there is any."""
    return inputs if extra is None else torch.cat([inputs, extra], dim=-1)
