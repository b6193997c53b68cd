"""What the networks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from torch import nn

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}
_GAINS = {"tanh": 5 / 3, "relu": sqrt(2), "silu": sqrt(2)}


def activation(name: str) -> nn.Module:
    """A nonlinearity by its name in `NetworkConfig`."""
    return _ACTIVATIONS[name]()


def hidden_gain(name: str) -> float:
    """Gain that keeps the variance of what passes through a layer with this nonlinearity (He et al. 2015)."""
    return _GAINS[name]


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A linear layer with orthogonal weights (Saxe et al. 2014) of the given gain and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, sizes: Sequence[int], nonlinearity: str) -> nn.Sequential:
    """Hidden layers, each followed by the nonlinearity."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [linear(inputs, size, hidden_gain(nonlinearity)), activation(nonlinearity)]
        inputs = size
    return nn.Sequential(*layers)
