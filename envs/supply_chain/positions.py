"""Inventory positions: what counts as there for an order, and what an order makes of that."""

from __future__ import annotations

import numpy as np

from envs.supply_chain.flows import Flows
from envs.supply_chain.plan import Floats


def in_time(flows: Flows) -> Floats:
    """What counts as there for each way, `[B, S]`: stock, less all that is waited for, and what comes in time."""
    cells, longest = flows.size.cells, flows.plan.longest
    net = flows.on_hand() - flows.waited_for()
    coming, found = flows.open.copy(), np.zeros_like(flows.open)
    for step in range(int(longest.max())):
        coming += flows.transit[step].sum(axis=0)
        now = longest == step + 1
        if now.any():
            found = np.where(now, flows.of(net + flows.pool(coming, "target", cells), "target"), found)
    return found


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
