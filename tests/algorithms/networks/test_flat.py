"""The plain MLP."""

from __future__ import annotations

import torch

from algorithms.networks.config import NetworkConfig
from algorithms.networks.flat import FlatEncoder, FlatHead
from envs.layout import ObservationLayout

LAYOUT = ObservationLayout(("o",), ("x", "y"), ("a", "b"), 1)


def test_it_has_stock_sizes() -> None:
    """Two hidden layers of 256, over every number of the observation."""
    encoder = FlatEncoder(LAYOUT, NetworkConfig(kind="flat"))
    shapes = [tuple(p.shape) for p in encoder.parameters()]
    assert shapes == [(256, 7), (256,), (256, 256), (256,)]


def test_state_is_read_beside_the_observation() -> None:
    """What else is given changes the trunk; without it the width is the observation's."""
    encoder = FlatEncoder(LAYOUT, NetworkConfig(kind="flat"), extra=3)
    seen = torch.randn(4, 7)
    one, other = (encoder(seen, torch.full((4, 3), level))[0] for level in (0.0, 1.0))
    assert one.shape == (4, 256)
    assert (one != other).any()


def test_head_is_linear() -> None:
    """Outputs are linear in the trunk, whatever the entities are."""
    head, trunk = FlatHead(8, 3, 1.0), torch.randn(5, 8)
    torch.testing.assert_close(head(2 * trunk, None), 2 * head(trunk, None))
