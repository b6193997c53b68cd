"""The value head against the running averages that it stands for, and the promise that no value changes by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.networks.values import RATE, SMALLEST_DEVIATION, ValueHead

EMBEDDINGS = torch.randn((32, 5), generator=torch.Generator().manual_seed(0))


def fed(*batches: np.ndarray) -> ValueHead:
    torch.manual_seed(0)
    head = ValueHead(5)
    for batch in batches:
        head.update(torch.from_numpy(batch.astype(np.float32)))
    return head


def test_statistics_are_averages_that_forget() -> None:
    """Mean and deviation are those of all returns, each update weighing `1 - RATE` of the one after it."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(loc, scale, 300).astype(np.float32) for loc, scale in ((-400, 90), (-100, 40), (5, 3))]
    head = fed(*batches)
    shares = np.array([(1 - RATE) ** age for age in (2, 1, 0)])
    shares /= shares.sum()
    mean = sum(share * batch.mean(dtype=np.float64) for share, batch in zip(shares, batches, strict=True))
    square = sum(share * (batch.astype(np.float64) ** 2).mean() for share, batch in zip(shares, batches, strict=True))
    assert head.shift.item() == pytest.approx(mean, rel=1e-6)
    assert head.scale.item() == pytest.approx(np.sqrt(square - mean**2), rel=1e-6)


def test_the_first_returns_set_the_scale() -> None:
    """Before it has seen any it is its layer; after the first it puts out values around their mean, on their scale."""
    head, returns = ValueHead(5), np.random.default_rng(1).normal(-1e4, 300, 500)
    torch.testing.assert_close(head(EMBEDDINGS), head.layer(EMBEDDINGS).squeeze(-1))
    before = head.layer.weight.clone()
    head.update(torch.from_numpy(returns.astype(np.float32)))
    assert torch.equal(head.layer.weight, before)
    expected = returns.mean() + returns.std() * head.layer(EMBEDDINGS).squeeze(-1)
    torch.testing.assert_close(head(EMBEDDINGS), expected.float(), rtol=1e-4, atol=0.1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(0.1, 1e4)), min_size=1, max_size=6))
def test_values_stay_what_they_were(moves: list[tuple[float, float]]) -> None:
    """However the returns' mean and deviation move, no value changes by more than rounding."""
    head = fed(np.array([-1.0, 1.0]))
    for mean, deviation in moves:
        before, scale = head(EMBEDDINGS), head.scale.item()
        head.update(torch.tensor([mean - deviation, mean + deviation]))
        size = max(scale, head.scale.item(), abs(mean), before.abs().max().item())
        torch.testing.assert_close(head(EMBEDDINGS), before, rtol=1e-4, atol=1e-5 * size)


def test_returns_that_do_not_vary_do_not_explode() -> None:
    """The deviation has a floor, so that nothing is divided by zero, and equal returns are foreseen."""
    for level in (0.0, 5e6):
        head = fed(*[np.full(10, level)] * 3)
        assert head.scale.item() == pytest.approx(SMALLEST_DEVIATION * max(1.0, level))
        assert torch.isfinite(head(EMBEDDINGS)).all()
        torch.testing.assert_close(head(EMBEDDINGS), torch.full((32,), level), rtol=1e-4, atol=1e-4)


def test_it_is_off_by_switch() -> None:
    """Without statistics it is a linear layer, and there is nothing to save beside its weights."""
    head = ValueHead(5, normalise=False)
    head.update(torch.tensor([1e6, 2e6]))
    torch.testing.assert_close(head(EMBEDDINGS), head.layer(EMBEDDINGS).squeeze(-1))
    assert head.state_dict().keys() == {"layer.weight", "layer.bias"}


def test_no_returns_change_nothing() -> None:
    """An empty sample leaves everything as it is."""
    head = fed(np.array([1.0, 2.0]))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.update(torch.zeros(0))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
