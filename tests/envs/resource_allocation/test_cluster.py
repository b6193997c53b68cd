"""Tests of clusters: those that come with Entrepot, and what is wrong with others, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from envs.resource_allocation import AllocationConfig, ClusterError, cluster_names, load_cluster
from envs.resource_allocation.files import FOLDER


@pytest.mark.parametrize("name", cluster_names())
def test_what_comes_with_entrepot_is_sound(name: str) -> None:
    """Every file is a cluster of its name."""
    assert load_cluster(name).name == name


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("machines.standard.capacity.cpu", 0, "machines.standard.capacity.cpu: got 0, should be greater than 0"),
        ("machines.standard.capacity.cpu", -1, "machines.standard.capacity.cpu: got -1, should be greater than 0"),
        (
            "machines.standard.capacity",
            {"light": 1},
            "machines.standard.capacity: got 'light', allowed are cpu, memory",
        ),
        ("machines.gpu.busy", 0.1, "machines.gpu: busy: got 0.1, allowed is 0.3, the power when idle, or more"),
        ("jobs.query.needs.memory", 999, "jobs.query.needs: got cpu 2, memory 999, allowed is what fits on one of"),
        ("jobs.train.machines", ["abacus"], "jobs.train.machines: got 'abacus', allowed are standard, memory, gpu"),
        ("jobs.train.gang", 5, "jobs.train: gang: got 5, allowed is at most 4, the width"),
        ("jobs.train.work", None, "jobs.train: slack: allowed only with work: what never ends has no deadline"),
        ("tenants.bulk.jobs", {"none": 1}, "tenants.bulk.jobs: got 'none', allowed are request, batch, query, train"),
        ("tenants.bulk.color", "red", "tenants.bulk.color: unknown key"),
    ],
)
def test_what_does_not_hang_together_is_named(tmp_path: Path, path: str, value: Any, said: str) -> None:
    """One line with file and key."""
    data = yaml.safe_load((FOLDER / "cloud.yaml").read_text())
    place = data
    *keys, last = path.split(".")
    for key in keys:
        place = place[key]
    place[last] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ClusterError) as caught:
        load_cluster(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    with pytest.raises(ValueError, match=r"mine.yaml"):
        AllocationConfig(clusters=(str(file),))


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    """One line with the place of the fault."""
    file = tmp_path / "mine.yaml"
    file.write_text("- a")
    with pytest.raises(ClusterError, match="got list, allowed is a mapping with name, resources"):
        load_cluster(file)
    with pytest.raises(ClusterError, match="cluster: got 'none', allowed are cloud"):
        load_cluster("none")
