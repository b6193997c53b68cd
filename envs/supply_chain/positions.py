"""Inventory positions: what counts as there for an order, and what an order makes of that."""

from __future__ import annotations

import numpy as np

from envs.supply_chain.flows import Flows
from envs.supply_chain.plan import Floats


def in_time(flows: Flows) -> Floats:
    """What counts as there for each way, `[B, S]`: stock, less all that is waited for, and what comes in time."""
    wiring, cells = flows.wiring, flows.size.cells
    net = flows.standing().stock - flows.standing().waiting
    coming, found, reached = flows.open.copy(), np.zeros(flows.open.size), 0
    there = np.zeros((len(net), cells + 1))
    for due in wiring.due:
        coming += flows.transit[reached : due.steps].sum(axis=(0, 1))
        reached = due.steps
        there[:, :-1] = net + wiring.pool(coming, "target", cells)
        found[due.ways] = there.take(due.targets)
    return found.reshape(flows.open.shape)


def covered(flows: Flows, orders: Floats) -> Floats:
    """By how much a level must exceed what is there so that so much is ordered, `[B, S]`: `Wiring.known_upstream` back.

    Args:
        flows: The goods.
        orders: What is to be ordered by each way, `[B, S]`.
    """
    plan, cells, turn = flows.plan, flows.size.cells, flows.plan.turn
    found: Floats = -flows.of(flows.asked_by(orders), "target")
    for number in range(int(turn.max()) + 1):
        now = np.where((turn == number) & plan.way, orders * plan.good, 0.0)
        found += np.where(turn >= number, flows.of(flows.pool(now, "target", cells), "target"), 0.0)
    return found
