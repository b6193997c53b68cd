"""What a step earns and costs, node by node."""

from __future__ import annotations

import numpy as np

from envs.supply_chain.flows import Flows, Moved
from envs.supply_chain.plan import Floats


def worth(flows: Flows) -> Floats:
    """What goods in stock and on their way to nodes cost to bring there, `[B, N]` [currency]."""
    there, value = flows.standing(), flows.plan.value
    coming = flows.pool(there.moving * flows.of(value, "target"), "owner", flows.size.nodes)
    return flows.by_node(there.stock * value) + coming


def earned(flows: Flows, moved: Moved, ordered: Floats, richer: Floats) -> Floats:
    """The objectives, in the order of `envs.supply_chain.config.OBJECTIVES`.

    Sales are those to customers and to nodes downstream, who pay as purchases what these earn. Held are the goods that
    lie there all step: stock after sending, and where customers are served, after these; what is on its way; and rented
    space. Backlog is paid for every step, lost sales once. Stock is the change of what goods are worth: with it nobody
    is poorer for having bought something, and a step's reward is a profit, not a cash flow.

    Args:
        flows: The goods after the step.
        moved: What moved in it.
        ordered: What was ordered in the step before, `[B, S]`.
        richer: By how much goods are worth more than before the step, `[B, N]`; see `worth`.

    Returns:
        `[B, N + 1, R]` [currency; emissions: kg CO2e; swings: units]; nothing in the last row, of who is not there.
    """
    plan, nodes = flows.plan, flows.size.nodes

    def of_ways(amount: Floats, who: str = "owner") -> Floats:
        return flows.pool(amount, who, nodes)

    of_cells = flows.by_node
    stock = flows.standing().stock
    lain = np.where(plan.sold, stock, moved.left)
    beyond = np.maximum(of_cells(stock * plan.volume) - plan.storage, 0.0)
    paid = plan.price * moved.sent
    short = np.where(plan.lost, moved.lost, flows.backlog)
    parts = (
        of_cells(moved.served * plan.sale) + of_ways(paid, "seller"),
        -of_ways(paid),
        -(of_cells(lain * plan.hold) + of_ways(moved.transit * plan.transit) + beyond * plan.overflow),
        -of_cells(short * plan.shortage),
        -of_ways(plan.order * (moved.ordered > 0)),
        -of_ways(plan.emissions * moved.sent),
        -of_ways(np.abs(moved.ordered - ordered)),
        richer,
    )
    found = np.zeros((len(stock), nodes + 1, len(parts)))
    for place, part in enumerate(parts):
        found[:, :-1, place] = part
    return found
