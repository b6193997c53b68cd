"""What is optimal in a row of nodes: Clark and Scarf's echelon base-stock levels, computed."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from envs.supply_chain.network import Network


@dataclass(frozen=True)
class SerialOptimum:
    """What is optimal in a serial system.

    Attributes:
        echelon: Echelon base-stock levels by node, upstream first [units].
        cost: Least mean cost, what lies on a way at the rate of where it comes from [currency a step].
    """

    echelon: dict[str, float]
    cost: float


def clark_scarf(network: Network, *, grid: float = 0.02) -> SerialOptimum:
    """Optimal echelon base-stock levels of a serial system with backlog and normal demand.

    Clark and Scarf (1960), "Optimal policies for a multi-echelon inventory problem", in the form of Chen and Zheng
    (1994) as given by Snyder and Shen (2019), section 6.2: with echelon holding costs `h_j`, `C_0(x) = (p + sum h) x^-`

        C_j(y) = E[h_j (y - D) + C_{j-1}(min(S_{j-1}, y - D))],  D the demand of `L_j` steps,  S_j = argmin C_j,

    on a grid, the shop first.

    Raises:
        ValueError: If the network is not such a system.
    """
    order = network.order
    ways = list(network.ways)
    sales = [(name, sale) for name in order for sale in network.nodes[name].sells.values()]
    plain = len(network.products) == 1 and len(ways) == len(order) == len({way.target for way in ways})
    shop = [sale for name, sale in sales if name == order[-1] and not sale.lost and sale.demand.kind == "normal"]
    if not plain or len(sales) != 1 or not shop:
        raise ValueError(
            f"network: got {network.name!r}, allowed is a row of nodes, one product, normal demand, backlog"
        )
    (product,) = network.products
    (sale,) = shop
    demand = sale.demand
    local = [network.nodes[name].of("hold", product) for name in order]
    echelon = np.diff([0.0, *local])[::-1]  # the shop first
    leads = [way.terms.lead_time.mean for way in ways][::-1]
    mean, deviation = demand.level, demand.cv * demand.level
    reach = sum(leads) * mean + 8 * deviation * sqrt(sum(leads)) + mean
    y = np.arange(-reach, 2 * reach, grid)
    below = (sale.shortage + local[-1]) * np.maximum(-y, 0.0)
    found: dict[str, float] = {}
    cost = 0.0
    for name, hold, lead in zip(order[::-1], echelon, leads, strict=True):
        spread = deviation * sqrt(lead)
        d = np.arange(mean * lead - 6 * spread, mean * lead + 6 * spread + grid, grid)
        weight = np.exp(-((d - mean * lead) ** 2) / (2 * spread**2))
        weight /= weight.sum()
        after = hold * y + below
        value = sum(w * np.interp(y - each, y, after, left=after[0]) for w, each in zip(weight, d, strict=True))
        value = np.where(y - d[-1] < y[0], np.inf, value)
        best = int(np.argmin(value))
        found[name], cost = float(y[best]), float(value[best])
        below = np.where(y < y[best], value, cost)
        finite = np.isfinite(below)
        slope = (below[finite][1] - below[finite][0]) / grid
        below = np.where(finite, below, below[finite][0] + slope * (y - y[finite][0]))
    return SerialOptimum({name: found[name] for name in order}, cost)
