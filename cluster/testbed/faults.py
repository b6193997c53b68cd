"""What can go wrong on a cluster, done for real to the laboratory's machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.testbed.lab import Node

RUNNER = "^ray::BatchedEnvRunner"
TRIAL = "^ray::ExperimentTrainable"
"""How Ray names the processes of runners, and of a trial, in which the learner is."""
CUT = 30.0
"""How long the network is cut [s]."""
OFF = 5.0
"""How long a machine that starts again is off [s]."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: A word for it.
        description: What happens, for people.
        inject: Does it to machines, of which the first is the head; returns which one it was.
    """

    name: str
    description: str
    inject: Callable[[Sequence[Node]], Node]


def kill_runner(nodes: Sequence[Node]) -> Node:
    """Kills one runner's process."""
    return _kill(nodes, RUNNER)


def kill_learner(nodes: Sequence[Node]) -> Node:
    """Kills the trial's process, with the learner in it."""
    return _kill(nodes, TRIAL)


def destroy_worker(nodes: Sequence[Node]) -> Node:
    """Switches off a worker: the one the learner is on, if it is on one, else one that a runner is on."""
    node = _worker_with_most_to_lose(nodes)
    node.destroy()
    return node


def cut_network(nodes: Sequence[Node]) -> Node:
    """Unplugs a worker, the same as would be switched off, for a while."""
    node = _worker_with_most_to_lose(nodes)
    node.cut()
    time.sleep(CUT)
    node.mend()
    return node


def restart_head(nodes: Sequence[Node]) -> Node:
    """Switches the head off, and on again with nothing on it: the command that runs there is gone."""
    head = nodes[0]
    head.destroy()
    time.sleep(OFF)
    head.start()
    return head


FAULTS = (
    Fault("runner", "`kill -9` of one of two runners", kill_runner),
    Fault("learner", "`kill -9` of the trial's process, in which the learner is", kill_learner),
    Fault("worker", "a worker node is switched off and stays off", destroy_worker),
    Fault("network", f"a worker's network is cut for {CUT:g} s", cut_network),
    Fault("head", f"the head node is switched off, and on again, empty, {OFF:g} s later", restart_head),
)


def _kill(nodes: Sequence[Node], pattern: str) -> Node:
    node, pid = _found(nodes, pattern)[0]
    node.run(f"kill -9 {pid}")
    return node


def _worker_with_most_to_lose(nodes: Sequence[Node]) -> Node:
    workers = [node for node in nodes[1:] if node.alive]
    for pattern in (TRIAL, RUNNER):
        for node in workers:
            if node.pids(pattern):
                return node
    raise RuntimeError("no worker has a process of the run")


def _found(nodes: Sequence[Node], pattern: str) -> list[tuple[Node, int]]:
    found = [(node, pid) for node in nodes if node.alive for pid in node.pids(pattern)]
    if not found:
        raise RuntimeError(f"no machine has a process {pattern!r}")
    return found
