"""Three real machines and a cluster of them, for all tests here; they run in the laboratory (`make test-cluster`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.testbed.cluster_file import NOTICES_SOON, write_cluster_file
from cluster.testbed.lab import Node, inside, machines
from cluster.testbed.trial import entrepot


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs the laboratory where there is none, and has patience: whole clusters start and fall here."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(1800))
            if not inside():
                item.add_marker(pytest.mark.skip(reason="needs the laboratory: make test-cluster"))


@pytest.fixture(scope="session")
def nodes() -> Iterator[list[Node]]:
    """Three machines; the first is to be the head."""
    with machines(3) as nodes:
        yield nodes


@pytest.fixture(scope="session")
def cluster(nodes: list[Node]) -> Iterator[Path]:
    """The description of a cluster of them that is up."""
    path = write_cluster_file(Path("/tmp/lab.yaml"), nodes, settings=NOTICES_SOON)
    entrepot("cluster", "up", str(path))
    yield path
    entrepot("cluster", "down", str(path))
