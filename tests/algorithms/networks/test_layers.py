"""What the networks are made of."""

from __future__ import annotations

import pytest
import torch

from algorithms.networks.layers import linear, mlp


def test_linear_weights_are_orthogonal() -> None:
    """Rows are orthogonal, with the gain as their length, and the bias is zero."""
    layer = linear(20, 7, 0.5)
    torch.testing.assert_close(layer.weight @ layer.weight.T, 0.25 * torch.eye(7), atol=1e-5, rtol=1e-5)
    assert (layer.bias == 0).all()


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_signal_survives_depth(activation: str) -> None:
    """Ten layers neither drown nor blow up what goes in."""
    out = mlp(128, [128] * 10, activation)(torch.randn(500, 128))
    assert 0.1 < out.std() < 3
