"""Which agent orders by which ways: the nodes of a role are a group, whichever network a world plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.supply_chain.network import ROLES, Network
from envs.supply_chain.plan import Ints, Plan, Size


@dataclass(frozen=True)
class Hall:
    """How many seats there are.

    Attributes:
        agents: Seats by role, those that have any.
        ways: Most ways that one node orders by.
    """

    agents: dict[str, int]
    ways: int

    @classmethod
    def of(cls, networks: Sequence[Network]) -> Hall:
        """Seats for each of the networks."""
        counts = {role: max(sum(n.role == role for n in each.nodes.values()) for each in networks) for role in ROLES}
        ways = max(max(sum(w.target == name for w in each.ways) for name in each.nodes) for each in networks)
        return cls({role: count for role, count in counts.items() if count}, ways)


@dataclass
class Seats:
    """Who sits where, in one network, or in those of `B` worlds with an axis before all others.

    Seats `A` are those of all roles, one role after the other.

    Attributes:
        node: Node of each seat, `[A]`; the number after the last for a seat that is empty.
        ways: Its ways, `[A, K]`; the number after the last where it has no more.
        place: Where the action of each way lies, among seats times ways, `[S]`; the number after the last for a way
            that does not exist.
    """

    node: Ints
    ways: Ints
    place: Ints

    @classmethod
    def empty(cls, hall: Hall, size: Size) -> Seats:
        """Nobody there."""
        seats = sum(hall.agents.values())
        return cls(
            np.full(seats, size.nodes),
            np.full((seats, hall.ways), size.ways),
            np.full(size.ways, seats * hall.ways),
        )

    @classmethod
    def of(cls, network: Network, plan: Plan, hall: Hall, size: Size) -> Seats:
        """Seats the nodes of a network, of each role those upstream first."""
        found, first = cls.empty(hall, size), 0
        order = network.order
        for role, count in hall.agents.items():
            names = [name for name in order if network.nodes[name].role == role]
            for index, name in enumerate(names):
                node = order.index(name)
                found.node[first + index] = node
                own = np.flatnonzero(plan.way & (plan.owner == node))
                found.ways[first + index, : len(own)] = own
                found.place[own] = (first + index) * hall.ways + np.arange(len(own))
            first += count
        return found

    def worlds(self, count: int) -> Seats:
        """The seats for `count` worlds alike."""
        return Seats(**{name: np.repeat(array[None], count, axis=0) for name, array in vars(self).items()})

    def put(self, world: int, seats: Seats) -> None:
        """Has one world play another network."""
        for name, array in vars(seats).items():
            getattr(self, name)[world] = array


def supplied(plan: Plan, seats: Seats, size: Size) -> list[list[int]]:
    """What each seat supplies in a network: ways, and cells sold to customers from `S` on."""
    found: list[list[int]] = []
    for node in seats.node:
        out = plan.way & ((plan.seller == node) | (plan.made & (plan.owner == node)))
        sold = plan.sold & (plan.site == node)
        own = [*np.flatnonzero(out), *(size.ways + np.flatnonzero(sold))] if node < size.nodes else []
        found.append([int(each) for each in own])
    return found


def taken(table: Any, index: Ints) -> Any:
    """Rows of a table `[B, X, …]` by their numbers `[B, …]`; zeros for the number after the last."""
    padded = np.concatenate([table, np.zeros((len(table), 1, *table.shape[2:]), table.dtype)], axis=1)
    worlds = np.arange(len(table)).reshape(-1, *[1] * (index.ndim - 1))
    return padded[worlds, index]
