"""Tests of workloads: means, variances and correlations are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.synthetic.demand import Promotion, Recorded, Season
from envs.synthetic.workloads import Workload


def drawn(workload: Workload, worlds: int = 400, steps: int = 100, tenants: int = 4) -> np.ndarray:
    """Factors of many worlds."""
    return workload.draw(steps, tenants, [np.random.default_rng(world) for world in range(worlds)])


def test_noise_has_the_moments_it_is_said_to_have() -> None:
    """Mean 1, the coefficient of variation that was asked for, and logs that go on and are shared as they should be."""
    found = drawn(Workload(cv=0.5, rho=0.7, common=0.4))
    assert found.mean() == pytest.approx(1.0, abs=0.02)
    assert found.std() == pytest.approx(0.5, rel=0.06)
    logs = np.log(found)
    assert np.corrcoef(logs[:, 1:].ravel(), logs[:, :-1].ravel())[0, 1] == pytest.approx(0.7, abs=0.03)
    assert np.corrcoef(logs[..., 0].ravel(), logs[..., 1].ravel())[0, 1] == pytest.approx(0.4, abs=0.05)


def test_a_wave_is_one() -> None:
    """A day's mean is 1; scattered phases are as many as there are tenants."""
    season = Season(amplitude=0.5, period=25)
    found = drawn(Workload(season=season), worlds=1)
    np.testing.assert_allclose(found[0, :, 0], 1 + 0.5 * np.sin(2 * np.pi * np.arange(100) / 25))
    assert (found == found[..., :1]).all()
    scattered = drawn(Workload(season=season, scattered=True), worlds=1)
    assert len(np.unique(scattered[0, 0])) == 4
    np.testing.assert_allclose(scattered.mean(axis=1), 1.0)


def test_crowds_come_to_all_and_bursts_to_one() -> None:
    """Nothing but 1 and the lift, at the same time for all or not."""
    lift = Promotion(chance=0.05, length=5, lift=3.0)
    crowd, burst = drawn(Workload(crowd=lift)), drawn(Workload(burst=lift))
    for found in (crowd, burst):
        np.testing.assert_array_equal(np.unique(found), [1.0, 3.0])
        assert found.mean() == pytest.approx(1 + 2 * 5 / (5 + 1 / 0.05), abs=0.06)
    assert (crowd == crowd[..., :1]).all()
    assert not (burst == burst[..., :1]).all()


def test_records_are_replayed_around_one(tmp_path: Path) -> None:
    """Rows follow each other as they did, as shares of their mean; one that is too short is refused."""
    file = tmp_path / "record.csv"
    days = np.datetime64("2020-01-01") + np.arange(50)
    file.write_text("\n".join(["date,series,quantity", *(f"{day},jobs,{1 + n}" for n, day in enumerate(days))]))
    workload = Workload(recorded=Recorded(file=file, series="jobs"))
    found = drawn(workload, worlds=8, steps=20)
    np.testing.assert_allclose(np.diff(found, axis=1), 1 / 25.5)
    with pytest.raises(ValueError, match="recorded: got 50 rows, allowed are 60"):
        drawn(workload, worlds=1, steps=60)
