"""Tests of the envelopes of real data centres, without fetching them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
from envs.synthetic.demand_files import DemandFileError, load_demand
from envs.synthetic.traces import series_of


def test_a_trace_becomes_a_record_that_a_workload_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of the published file by five minutes, gaps filled in; by its name an episode's arrivals follow it."""
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path))
    usage = np.where(np.arange(60) < 30, 10.0, 30.0)
    usage[7] = np.nan
    table = pd.DataFrame({"cpu_util_percent": usage, "net_in": 1.0})
    series_of(table, "2018-01-01").to_parquet(tmp_path / "alibaba.parquet", index=False)
    assert load_demand(tmp_path / "alibaba.parquet")["cpu"][7] == pytest.approx(10.0)
    workload = {"recorded": {"file": "alibaba", "series": "cpu"}}
    env = AllocationEnv(AllocationConfig(), 16, task=AllocationTask(max_steps=60, workload=workload))
    env.reset(0)
    at = env.future.at[env.future.at < 60]
    assert (at >= 30).sum() / (at < 30).sum() == pytest.approx(3.0, rel=0.15)


def test_what_was_not_fetched_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the file and `make data`."""
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path))
    task = AllocationTask(workload={"recorded": {"file": "google", "series": "cpu"}})
    with pytest.raises(DemandFileError, match=r"google.parquet: got no such file.*`make data` fetches it"):
        AllocationEnv(AllocationConfig(), 1, task=task)
