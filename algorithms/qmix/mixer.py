"""How the utilities of a team's units become one value: monotonically, so that each may choose for itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MonotonicMixer(nn.Module):
    """`w2(s)' elu(w1(s) q + b1(s)) + b2(s)` with weights that are not negative.

    Since no weight is negative, what is best for each unit is best for the team (Rashid et al. 2018, equation 5, and
    section 4.1: weights by hypernetworks from the *global state*, absolute values, a last bias by two layers).

    Args:
        units: Units `U`: branches of all agents. The utility of a unit that is not there must be 0.
        state_size: Width `S` of the state.
        width: Width of the hidden layer.
        hypernet_width: Width of the layer that weights are made from.
    """

    def __init__(self, units: int, state_size: int, width: int, hypernet_width: int) -> None:
        super().__init__()
        self.units, self.width = units, width

        def two_layers(outputs: int, hidden: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(state_size, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

        self.first = two_layers(units * width, hypernet_width)
        self.first_bias = nn.Linear(state_size, width)
        self.second = two_layers(width, hypernet_width)
        self.second_bias = two_layers(1, width)

    def forward(self, utilities: Tensor, state: Tensor) -> Tensor:
        """The team's value `[N]`, of utilities `[N, U]` in states `[N, S]`."""
        first = self.first(state).abs().unflatten(1, (self.units, self.width))
        hidden = torch.einsum("nu,nuw->nw", utilities, first) + self.first_bias(state)
        second = self.second(state).abs()
        mixed: Tensor = (nn.functional.elu(hidden) * second).sum(dim=1) + self.second_bias(state).squeeze(1)
        return mixed
