"""Tests of what is counted of jobs that are done."""

from __future__ import annotations

import numpy as np
import pytest

from envs.resource_allocation.accounts import WIDTH, Accounts, quantile


def test_slowdowns_are_counted_within_their_bins() -> None:
    """Quantiles of many draws are NumPy's within half a bin; of jobs that took no longer than they must it is 1."""
    drawn = 1.0 + np.random.default_rng(0).exponential(4.0, (2, 500, 8))
    accounts = Accounts.zero(2, 500)
    accounts.finish(np.repeat([0, 1], 4000), drawn.ravel())
    for share in (0.5, 0.95, 0.99):
        expected = np.quantile(drawn.reshape(2, -1), share, axis=1)
        np.testing.assert_allclose(quantile(accounts.slowdowns, share), expected, rtol=WIDTH - 1)
    np.testing.assert_array_equal(accounts.done, 4000)
    fresh = Accounts.zero(1, 2)
    assert quantile(fresh.slowdowns, 0.95) == 0.0
    fresh.finish(np.zeros(3, np.int64), np.ones(3))
    assert quantile(fresh.slowdowns, 0.99) == 1.0
    assert fresh.done == pytest.approx(3)
