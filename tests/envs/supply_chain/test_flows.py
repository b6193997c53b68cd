"""Tests of how goods move: nothing is lost, and published optima cost what they are said to cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.supply_chain.flows import Flows, Luck
from envs.supply_chain.network import Network
from envs.supply_chain.plan import Plan, Size


def network(name: str = "net", **parts: Any) -> Network:
    """A network from plain values."""
    return Network.model_validate({"name": name, **parts})


def single(**lane: Any) -> Network:
    """One shop that buys outside."""
    return network(
        products={"unit": {}},
        nodes={"shop": {"role": "retailer", "sells": {"unit": {"demand": {"level": 20}}}}},
        lanes=[{"name": "in", "source": "outside", "target": "shop", "products": ["unit"], "lead_time": 1, **lane}],
    )


SERIAL = network(
    products={"unit": {}},
    nodes={
        "shop": {"role": "retailer", "sells": {"unit": {"demand": {"level": 20}}}},
        "store": {"role": "distributor"},
        "plant": {"role": "manufacturer"},
    },
    lanes=[
        {"name": "to_shop", "source": "store", "target": "shop", "products": ["unit"], "lead_time": 1},
        {"name": "to_store", "source": "plant", "target": "store", "products": ["unit"], "lead_time": 1},
        {"name": "to_plant", "source": "outside", "target": "plant", "products": ["unit"], "lead_time": 2},
    ],
)


def started(networks: list[Network]) -> Flows:
    """A world for each network."""
    size = Size.of(networks)
    flows = Flows(len(networks), size)
    flows.begin(np.arange(len(networks)), [Plan.of(each, size) for each in networks])
    return flows


def plain(flows: Flows) -> Luck:
    """No chance at all: shortest lead times, mean yields."""
    plan = flows.plan
    shape = plan.way.shape
    return Luck(plan.shortest, plan.good, np.zeros(shape, np.bool_), np.ones(plan.node.shape))


# -- what enters is somewhere ------------------------------------------------------------------------------------------


@st.composite
def networks(draw: Any) -> Network:
    """Two raw materials, up to two products made of them, up to three tiers with up to three nodes each."""
    some = st.floats(0, 30)
    limit = st.none() | st.floats(1, 20)
    ripe = st.integers(0, 3)
    made = draw(st.integers(0, 2))
    products: dict[str, Any] = {name: {"shelf_life": draw(ripe)} for name in ("raw", "box")}
    for index in range(made):
        recipe = {"raw": draw(st.floats(0.5, 3)), **({"box": 1} if draw(st.booleans()) else {})}
        products[f"good{index}"] = {"recipe": recipe, "shelf_life": draw(ripe)}
    sold = [f"good{index}" for index in range(made)] or ["raw", "box"]

    def terms() -> dict[str, Any]:
        least = draw(st.integers(1, 3))
        mean = draw(st.floats(0.5, 1))
        return {
            "lead_time": {"least": least, "most": least + draw(st.integers(0, 2))},
            "crossing": draw(st.booleans()),
            "minimum": draw(st.sampled_from([0, 0, 7])),
            "batch": draw(st.sampled_from([0, 0, 4])),
            "yield": mean,
            "yield_spread": min(mean, 1 - mean, 0.2),
        }

    tiers = [
        ["plant"],
        *([f"t{tier}n{n}" for n in range(draw(st.integers(1, 3)))] for tier in range(draw(st.integers(1, 2)))),
    ]
    nodes: dict[str, Any] = {}
    lanes: list[Any] = []
    for tier, names in enumerate(tiers):
        for name in names:
            nodes[name] = {
                "role": "manufacturer" if tier == 0 else "retailer",
                "stock": draw(some),
                "capacity": draw(limit),
                "allocation": draw(st.sampled_from(["proportional", "priority"])),
                "issuing": draw(st.sampled_from(["fifo", "lifo"])),
            }
            if tier == len(tiers) - 1:
                nodes[name]["sells"] = {p: {"demand": {"level": 4}, "lost": draw(st.booleans())} for p in sold}
            if tier == 0:
                nodes[name]["makes"] = {product: terms() for product in sold if product.startswith("good")}
                lanes.append({"source": "outside", "target": name, "products": ["raw", "box"], **terms()})
            else:
                for source in tiers[tier - 1]:
                    lane = {"source": source, "target": name, "products": sold, "capacity": draw(limit)}
                    lanes += [lane | terms() for _ in range(draw(st.integers(1, 2)))]
    return network(products=products, nodes=nodes, lanes=[{"name": f"l{n}", **lane} for n, lane in enumerate(lanes)])


def by_product(found: list[Network], cells: Any) -> Any:
    """Sums over nodes, `[B, P]`."""
    sums = np.zeros((len(found), max(len(network.products) for network in found)))
    for world, network in enumerate(found):
        products = list(network.products)
        for place, (_, product) in enumerate(network.cells):
            sums[world, products.index(product)] += cells[world, place]
    return sums


@settings(max_examples=60, deadline=None)
@given(st.lists(networks(), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_material_is_conserved(found: list[Network], seed: int) -> None:
    """Of every product: what was there, is bought or made is in stock, on its way, used, sold, scrapped or spoilt."""
    flows, rng = started(found), np.random.default_rng(seed)
    plan = flows.plan
    begun = by_product(found, flows.on_hand())
    came, went = np.zeros_like(begun), np.zeros_like(begun)
    for _ in range(12):
        lead = rng.integers(plan.shortest, plan.longest + 1)
        good = np.clip(plan.good + plan.spread * rng.uniform(-1, 1, plan.good.shape), 0, 1)
        luck = Luck(lead, good, rng.random(plan.way.shape) < 0.1, rng.choice([0.0, 0.5, 1.0], plan.node.shape))
        demand = rng.poisson(4, plan.cell.shape) * plan.sold
        stock, open_before, waiting = flows.on_hand(), flows.open.copy(), flows.backlog.copy()
        moved = flows.step(rng.uniform(0, 15, plan.way.shape) * plan.way, demand.astype(float), luck)
        outside = plan.source == flows.size.cells
        came += by_product(found, flows.pool(np.where(outside, moved.sent, 0), "target", flows.size.cells))
        gone = moved.used + moved.served + moved.spoilt
        gone += flows.pool(moved.scrapped + moved.spoilt_transit, "target", flows.size.cells)
        went += by_product(found, gone)
        # no more than there was, and nothing below zero
        assert (flows.stock >= 0).all()
        assert (flows.transit >= 0).all()
        drawn = moved.used + flows.pool(np.where(plan.made, 0, moved.sent), "source", flows.size.cells)
        assert (drawn <= stock + 1e-9).all()
        assert (moved.sent <= open_before + moved.ordered + 1e-9).all()
        np.testing.assert_allclose(moved.served + moved.lost + flows.backlog, (waiting + demand) * plan.sold, atol=1e-9)
        lanes = flows.pool(moved.sent, "lane", flows.size.lanes)
        assert (lanes <= plan.lane_capacity[:, :-1] + 1e-9).all()
        nodes = flows.pool(moved.sent, "bound", flows.size.nodes)
        assert (nodes <= np.where(luck.strength > 0, plan.node_capacity[:, :-1], 0) + 1e-9).all()
    there = by_product(found, flows.on_hand() + flows.pool(flows.moving(), "target", flows.size.cells))
    np.testing.assert_allclose(begun + came, went + there, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(networks(), min_size=2, max_size=3), st.integers(0, 2**32 - 1))
def test_a_network_beside_others_is_the_network_alone(found: list[Network], seed: int) -> None:
    """To the bit, in arrays of the same size."""
    size = Size.of(found)
    together = started(found)
    rng = np.random.default_rng(seed)
    steps = [
        (rng.uniform(0, 15, (len(found), size.ways)), rng.poisson(4, (len(found), size.cells)).astype(float))
        for _ in range(6)
    ]
    moved = [together.step(orders, demand * together.plan.sold, plain(together)) for orders, demand in steps]
    for world, each in enumerate(found):
        alone = Flows(1, size)
        alone.begin(np.array([0]), [Plan.of(each, size)])
        for (orders, demand), wanted in zip(steps, moved, strict=True):
            got = alone.step(orders[[world]], demand[[world]] * alone.plan.sold, plain(alone))
            for name, array in vars(got).items():
                np.testing.assert_array_equal(array[0], getattr(wanted, name)[world])


# -- published optima --------------------------------------------------------------------------------------------------


def test_clark_and_scarfs_levels_cost_what_they_are_said_to() -> None:
    """Snyder and Shen (2019), example 6.1: echelon levels 6.51, 12.01 and 22.70 cost 47.67 a period.

    Normal demand, mean 5 and deviation 1; holding 7, 4 and 2 at shop, store and plant, on the way to a node what it
    costs where it comes from; backlog 37.12. Levels and cost are those of stockpyl's instance of that name.
    """
    worlds, steps, warm_up = 500, 700, 50
    flows = started([SERIAL] * worlds)
    rng = np.random.default_rng(1)
    levels = np.array([22.700237, 12.012332, 6.514439])  # ways come upstream first, as do nodes
    hold = np.array([2.0, 4.0, 7.0])
    total = np.zeros(worlds)
    luck = plain(flows)
    for step in range(steps):
        below = flows.backlog.sum(axis=1)
        stock, order = flows.on_hand(), flows.on_order()
        net = stock + order
        # An echelon's position: all that is at the node or below it, or on order there, less what customers wait for.
        inside = stock + flows.moving()
        echelon = np.stack([net[:, 0] + inside[:, 1] + inside[:, 2], net[:, 1] + inside[:, 2], net[:, 2]], axis=1)
        orders = np.maximum(levels - (echelon - below[:, None]), 0.0)
        demand = np.zeros_like(stock)
        demand[:, 2] = np.maximum(rng.normal(5, 1, worlds), 0)
        moved = flows.step(orders, demand, luck)
        held = np.concatenate([moved.left[:, :2], flows.on_hand()[:, 2:]], axis=1)
        cost = (held * hold).sum(axis=1) + moved.transit[:, 1] * 2 + moved.transit[:, 2] * 4
        if step >= warm_up:
            total += cost + 37.12 * flows.backlog.sum(axis=1)
    mean = total / (steps - warm_up)
    error = 1.96 * mean.std() / np.sqrt(worlds)
    assert abs(mean.mean() - 47.67) < 0.01 * 47.67
    assert error < 0.002 * 47.67


def test_the_exact_s_s_policy_costs_what_it_is_said_to() -> None:
    """Zheng and Federgruen's (14, 62) for h 1, p 9, K 64 and Poisson demand of 20 costs 49.17 a period."""
    worlds, steps, warm_up = 400, 1200, 50
    flows = started([single()] * worlds)
    rng, total, luck = np.random.default_rng(2), np.zeros(worlds), plain(flows)
    for step in range(steps):
        position = (flows.on_hand() - flows.backlog)[:, 0]
        orders = np.where(position <= 14, 62 - position, 0.0)[:, None]
        flows.step(orders, rng.poisson(20, (worlds, 1)).astype(float), luck)
        if step >= warm_up:
            total += flows.on_hand()[:, 0] + 9 * flows.backlog[:, 0] + 64 * (orders[:, 0] > 0)
    mean = total / (steps - warm_up)
    assert abs(mean.mean() - 49.17) < 0.01 * 49.17


@pytest.mark.parametrize(("lead", "window"), [(1, 8), (4, 8), (4, 16)])
def test_moving_averages_whip_as_chen_et_al_say(lead: int, window: int) -> None:
    """Order-up-to a moving average: Var(q) / Var(D) = 1 + 2 L / p + 2 L^2 / p^2 (Chen et al. 2000, theorem 2.2)."""
    worlds, steps = 400, 600
    flows = started([single(lead_time=lead)] * worlds)
    rng, luck = np.random.default_rng(3), plain(flows)
    seen = list(rng.normal(100, 5, (window, worlds)))
    flows.stock[0, :, 0] = lead * np.mean(seen, axis=0)
    orders = []
    for _ in range(steps):
        level = lead * np.mean(seen[-window:], axis=0)
        position = (flows.on_hand() + flows.on_order() - flows.backlog)[:, 0]
        seen.append(rng.normal(100, 5, worlds))
        moved = flows.step(np.maximum(level - position, 0)[:, None], seen[-1][:, None], luck)
        orders.append(moved.ordered[:, 0])
    ratio = np.var(orders[100:], axis=0).mean() / 25
    bound = 1 + 2 * lead / window + 2 * lead**2 / window**2
    assert ratio == pytest.approx(bound, rel=0.02)
