"""Pooling over entities: order, padding and number of entities must not matter."""

from __future__ import annotations

import torch

from algorithms.networks.config import NetworkConfig
from algorithms.networks.pooled import EntityHead, PooledEncoder
from envs.layout import EntityTable, ObservationLayout


def layout(entities: int) -> ObservationLayout:
    return ObservationLayout(("o", "p"), ("x", "y", "z"), tuple(f"e{n}" for n in range(entities)), 2)


def observation(own: torch.Tensor, table: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    return torch.cat([own, table.flatten(1), exists], dim=1)


def network(entities: int, config: NetworkConfig | None = None) -> tuple[PooledEncoder, EntityHead]:
    torch.manual_seed(0)
    encoder = PooledEncoder(layout(entities), config or NetworkConfig(own_in_entities=True))
    return encoder, EntityHead(encoder.width, 32, 2, 1.0)


def run(encoder: PooledEncoder, head: EntityHead, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    trunk, entities = encoder(seen)
    return trunk, head(trunk, entities)


CONFIG = NetworkConfig(own_in_entities=True)
OWN, TABLE = torch.randn(5, 2), torch.randn(5, 4, 3)


def test_outputs_follow_the_entities_order() -> None:
    """Entities in another order give the same trunk, and their outputs in that order."""
    encoder, head = network(4)
    order = torch.tensor([2, 0, 3, 1])
    trunk, out = run(encoder, head, observation(OWN, TABLE, torch.ones(5, 4)))
    trunk_2, out_2 = run(encoder, head, observation(OWN, TABLE[:, order], torch.ones(5, 4)))
    torch.testing.assert_close(trunk, trunk_2)
    torch.testing.assert_close(out.unflatten(1, (4, 2))[:, order], out_2.unflatten(1, (4, 2)))


def test_what_is_learned_on_few_entities_carries_to_many() -> None:
    """The parameters fit any number of entities, and those that are absent change nothing."""
    small, small_head = network(4)
    large, large_head = network(9)
    large.load_state_dict(small.state_dict())
    large_head.load_state_dict(small_head.state_dict())
    exists = torch.cat([torch.ones(5, 4), torch.zeros(5, 5)], dim=1)
    padding = torch.full((5, 5, 3), 7.0)
    trunk, out = run(small, small_head, observation(OWN, TABLE, torch.ones(5, 4)))
    trunk_9, out_9 = run(large, large_head, observation(OWN, torch.cat([TABLE, padding], 1), exists))
    torch.testing.assert_close(trunk, trunk_9)
    torch.testing.assert_close(out, out_9[:, :8])


def test_mean_is_over_those_that_exist() -> None:
    """Doubling every entity leaves the mean as it is; with none at all the trunk still reads the own features."""
    encoder, _ = network(4)
    half = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(5, 4)
    doubled = TABLE[:, [0, 1, 0, 1]]
    torch.testing.assert_close(
        encoder(observation(OWN, doubled, half))[0], encoder(observation(OWN, doubled, torch.ones(5, 4)))[0]
    )
    alone = encoder(observation(OWN, TABLE, torch.zeros(5, 4)))[0]
    assert torch.isfinite(alone).all()
    assert (alone[0] != alone[1]).any()


def test_head_is_bilinear_in_embedding_and_trunk() -> None:
    """An output is its level plus the scaled product of embedding and query, entity by entity."""
    _, head = network(4)
    trunk, entities = torch.randn(5, 64), torch.randn(5, 4, 32)
    query = head.query(trunk).reshape(5, 2, 32)
    expected = torch.einsum("new,npw->nep", entities, query) / 32**0.5 + head.level(trunk)[:, None, :]
    torch.testing.assert_close(head(trunk, entities), expected.reshape(5, 8))


def test_further_tables_are_pooled_apart() -> None:
    """The order within a table and what its absent entities hold do not matter, which table something is in does."""
    torch.manual_seed(1)
    more = (EntityTable("neighbours", ("u", "v", "w"), ("n0", "n1", "n2", "n3")),)
    encoder = PooledEncoder(ObservationLayout(("o", "p"), ("x", "y", "z"), ("e0", "e1", "e2", "e3"), 2, more), CONFIG)
    there, other = torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(5, 4), torch.randn(5, 4, 3)

    def trunk(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return encoder(torch.cat([observation(OWN, first, there), second.flatten(1), there], dim=1))[0]

    changed = other[:, [1, 2, 0, 3]].clone()
    changed[:, 3] = 9.0
    torch.testing.assert_close(trunk(TABLE, other), trunk(TABLE, changed))
    assert not torch.allclose(trunk(TABLE, other), trunk(other, TABLE))
