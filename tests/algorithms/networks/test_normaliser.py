"""The running statistics against NumPy's over all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.networks.normaliser import Moments, ObservationNormaliser, StateNormaliser, merge_moments
from envs.layout import ObservationLayout

LAYOUT = ObservationLayout(("cash", "age"), ("price", "rsi"), ("a", "b", "c"), 1)


def observations(rows: int, present: int, seed: int = 0) -> np.ndarray:
    """Rows of LAYOUT in which the first `present` entities exist; padding is zero."""
    rng = np.random.default_rng(seed)
    seen = np.zeros((rows, LAYOUT.size), np.float32)
    seen[:, LAYOUT.own_slice] = rng.normal((1e4, 0.5), (3e3, 0.1), (rows, 2))
    table = rng.normal((100.0, -0.3), (7.0, 0.2), (rows, 3, 2))
    table[:, present:] = 0
    seen[:, LAYOUT.entity_slice] = table.reshape(rows, -1)
    seen[:, LAYOUT.mask_slice] = np.arange(3) < present
    return seen


def feed(normaliser: ObservationNormaliser, *batches: np.ndarray) -> ObservationNormaliser:
    for batch in batches:
        normaliser.merge(normaliser.sample_moments(torch.from_numpy(batch)))
    return normaliser


def test_at_first_it_only_clips() -> None:
    """Without statistics observations pass as they are, within the bounds."""
    seen = torch.from_numpy(observations(10, 3))
    assert torch.equal(ObservationNormaliser(LAYOUT, 10.0)(seen), seen.clamp(-10, 10))


def test_statistics_are_numpys_over_unmasked_rows() -> None:
    """Own features by dimension, entity features over all entities that exist; masks pass through."""
    batches = [observations(50, 2, 1), observations(80, 3, 2), observations(1, 1, 3)]
    normaliser = feed(ObservationNormaliser(LAYOUT), *batches)
    own = np.concatenate([LAYOUT.own_of(b) for b in batches]).astype(np.float64)
    table = np.concatenate([LAYOUT.entities_of(b)[LAYOUT.mask_of(b) > 0] for b in batches]).astype(np.float64)
    np.testing.assert_allclose(normaliser.count, [131, 131, 341, 341])
    np.testing.assert_allclose(normaliser.mean, [*own.mean(0), *table.mean(0)], rtol=1e-12)
    np.testing.assert_allclose(normaliser.m2 / normaliser.count, [*own.var(0), *table.var(0)], rtol=1e-10)
    out = normaliser(torch.from_numpy(batches[1])).numpy()
    np.testing.assert_allclose(LAYOUT.own_of(out), (LAYOUT.own_of(batches[1]) - own.mean(0)) / own.std(0), atol=1e-4)
    assert (LAYOUT.mask_of(out) == 1).all()


def test_an_entity_that_appears_is_normalised_like_the_others() -> None:
    """What two assets taught holds for the third: at promotion nothing explodes."""
    normaliser = feed(ObservationNormaliser(LAYOUT), observations(2_000, 2))
    out = LAYOUT.entities_of(normaliser(torch.from_numpy(observations(2_000, 3, 9))).numpy())
    assert abs(out[:, 2].mean()) < 0.1
    assert abs(out[:, 2].std() - 1) < 0.1


def test_feature_that_did_not_vary_does_not_explode() -> None:
    """A constant feature keeps its scale, so that its first small change is a small change."""
    seen = observations(100, 3)
    seen[:, 1] = 0.25
    normaliser = feed(ObservationNormaliser(LAYOUT), seen)
    seen[:, 1] = 0.30
    out = normaliser(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(out[:, 1], 0.05, atol=1e-6)


def test_padding_of_the_state_does_not_count() -> None:
    """A dimension that has been zero since the start has no statistics until its first value."""
    rng = np.random.default_rng(0)
    normaliser = StateNormaliser(2)
    early = rng.normal(3, 2, (500, 2))
    early[:, 1] = 0
    late = rng.normal(3, 2, (500, 2))
    for states in (early, late):
        normaliser.merge(normaliser.sample_moments(torch.from_numpy(states.astype(np.float32))))
    assert normaliser.count.tolist() == [1000, 500]
    np.testing.assert_allclose(normaliser.mean[1], late[:, 1].mean(), rtol=1e-6)


def test_forward_changes_nothing() -> None:
    """Statistics only change when they are told to, in training mode too."""
    normaliser = feed(ObservationNormaliser(LAYOUT), observations(50, 3)).train()
    before = {name: value.clone() for name, value in normaliser.state_dict().items()}
    normaliser(torch.from_numpy(observations(50, 3, 7)))
    assert all(torch.equal(value, before[name]) for name, value in normaliser.state_dict().items())


def test_outputs_are_clipped() -> None:
    """An outlier is held at the bound."""
    normaliser = feed(ObservationNormaliser(LAYOUT, 5.0), observations(100, 3))
    seen = observations(1, 3)
    seen[0, 0] = 1e12
    assert normaliser(torch.from_numpy(seen))[0, 0] == 5.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=8), min_size=1, max_size=6), st.randoms())
def test_moments_merge_in_any_order(batches: list[list[float]], random: object) -> None:
    """Merged one by one, in any order, the moments are those of all values together; empty samples are neutral."""
    normaliser = StateNormaliser(1)
    values = np.array([value for batch in batches for value in batch], np.float32).astype(np.float64)
    samples = [normaliser.sample_moments(torch.tensor(batch, dtype=torch.float32).reshape(-1, 1)) for batch in batches]
    random.shuffle(samples)  # type: ignore[attr-defined]
    merged = Moments(*(torch.zeros(1, dtype=torch.float64) for _ in range(3)))
    for each in samples:
        merged = merge_moments(merged, each)
    assert merged.size.item() == len(values)
    if len(values):
        scale = max(1.0, np.abs(values).max())
        assert merged.mean.item() == pytest.approx(values.mean(), abs=1e-9 * scale)
        assert merged.m2.item() == pytest.approx(((values - values.mean()) ** 2).sum(), abs=1e-8 * scale**2)


def test_merging_is_exact_where_float32_is_not() -> None:
    """Small changes around a large level survive: the statistics are kept in float64."""
    values = torch.full((1000, 1), 1e6)
    values[::2] += 0.5
    normaliser = StateNormaliser(1)
    for batch in values.split(10):
        normaliser.merge(normaliser.sample_moments(batch))
    assert normaliser.mean.dtype == torch.float64
    assert (normaliser.m2 / normaliser.count).item() == pytest.approx(0.0625, rel=1e-6)
    assert normaliser(values).std().item() == pytest.approx(1.0, rel=1e-2)


def test_layout_without_entities() -> None:
    """Own features alone are normalised too."""
    layout = ObservationLayout(("x",))
    normaliser = ObservationNormaliser(layout)
    seen = torch.tensor([[1.0], [3.0]])
    normaliser.merge(normaliser.sample_moments(seen))
    torch.testing.assert_close(normaliser(seen), torch.tensor([[-1.0], [1.0]]))
