"""Faults, done for real: every run comes to its end by itself, and is as good as one that nothing happened to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.testbed.faults import FAULTS, Fault
from cluster.testbed.lab import Node
from cluster.testbed.trial import Outcome, entrepot, run

ARGUMENTS = [
    "cue", "--set", "env.action_mode=discrete", "--set", "runners.num_env_runners=2",
    "--set", "stop.iterations=40", "--set", "tracking.enabled=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(cluster: Path) -> Outcome:
    """A run that nothing happens to."""
    return run(cluster, "undisturbed", ARGUMENTS)


@pytest.fixture
def mended(cluster: Path, nodes: list[Node]) -> Iterator[None]:
    """Switches on afterwards what was switched off, and waits until it is back."""
    yield
    if off := [node for node in nodes if not node.alive]:
        for node in off:
            node.start()
        entrepot("cluster", "join", str(cluster))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_run_survives(fault: Fault, cluster: Path, nodes: list[Node], undisturbed: Outcome, mended: None) -> None:
    """It is completed without anybody's help, and its final evaluation is within that of the undisturbed run."""
    outcome = run(cluster, f"fault-{fault.name}", ARGUMENTS, lambda: fault.inject(nodes))
    print(f"{fault.description}: {outcome}; undisturbed: {undisturbed}")
    assert outcome.iterations == undisturbed.iterations
    assert outcome.agrees_with(undisturbed)
    assert outcome.jobs == (2 if fault.name == "head" else 1)
