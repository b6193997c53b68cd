"""Pictures of supply chains: the network, stock and orders over time, bullwhip by tier, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go

from envs.supply_chain import Network, SupplyChainEnv, SupplyTask
from envs.supply_chain.network import OUTSIDE, ROLES
from envs.supply_chain.plan import Plan, Size
from evaluation.figures import INK, MUTED, OTHERS, empty_figure, label_of, policy_colours
from evaluation.results import Comparison, ScenarioResult
from evaluation.suite import Suite
from evaluation.views import View
from evaluation.worlds import SuiteWorlds
from policies.base import Policy

SYMBOLS = {"supplier": "diamond", "manufacturer": "square", "distributor": "hexagon", "retailer": "circle"}
ROLE_COLOURS = dict(zip(ROLES, OTHERS, strict=False))
COSTS = ("purchase", "hold", "backlog", "order")
"""Objectives that are costs in money."""
WORLDS = 16


def network_figure(network: Network, stock: Mapping[str, float] | None = None) -> go.Figure:
    """A network from left to right: lanes as wide as what flows on them on average, nodes coloured by their stock.

    Args:
        network: The network.
        stock: What lies at each node [steps' worth of what passes through]; that at the start if None.
    """
    flows, kept = flows_of(network), stock_at_start(network) if stock is None else stock
    places = places_of(network)
    figure = empty_figure(max(380, 46 * max(_heights(places).values())))
    most = max((sum(flow.values()) for flow in flows.values()), default=1.0) or 1.0
    for lane in network.lanes:
        amount = flows[lane.name]
        begin, end = (
            places[lane.source] if lane.source != OUTSIDE else _outside(places[lane.target]),
            places[lane.target],
        )
        said = "<br>".join(f"{product}: {units:.1f} a step" for product, units in amount.items())
        figure.add_scatter(
            x=[begin[0], (begin[0] + end[0]) / 2, end[0]],
            y=[begin[1], (begin[1] + end[1]) / 2, end[1]],
            mode="lines",
            line={"width": 1 + 7 * sum(amount.values()) / most, "color": "rgba(95,107,120,0.35)", "shape": "spline"},
            text=f"<b>{lane.name}</b>, {lane.lead_time.least} to {lane.lead_time.most} steps<br>{said}",
            hoverinfo="text",
        )
    names = list(network.nodes)
    figure.add_scatter(
        x=[places[name][0] for name in names],
        y=[places[name][1] for name in names],
        mode="markers+text",
        marker={
            "size": 24,
            "symbol": [SYMBOLS[network.nodes[name].role] for name in names],
            "color": [kept[name] for name in names],
            "colorscale": "YlGnBu",
            "cmin": 0,
            "colorbar": {"title": {"text": "stock<br>[steps]"}, "thickness": 12},
            "line": {"color": INK, "width": 1},
        },
        text=names,
        textposition="bottom center",
        hovertext=[f"<b>{name}</b>, {network.nodes[name].role}<br>stock for {kept[name]:.1f} steps" for name in names],
        hoverinfo="text",
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(margin={"l": 30, "r": 30, "t": 20, "b": 30})
    return figure


def flows_of(network: Network) -> dict[str, dict[str, float]]:
    """What flows on each lane on average [units a step], by product."""
    plan = Plan.of(network, Size.of([network]))
    found: dict[str, dict[str, float]] = {lane.name: {} for lane in network.lanes}
    for number, way in enumerate(network.ways):
        if way.lane is not None:
            found[way.lane][way.product] = float(plan.way_rate[number])
    return found


def stock_at_start(network: Network) -> dict[str, float]:
    """What lies at each node at the start [steps' worth], mean over its products."""
    size = Size.of([network])
    plan = Plan.of(network, size)
    return dict(zip(network.order, _covers(plan.stock[None], plan, size.nodes)[0].tolist(), strict=False))


def places_of(network: Network) -> dict[str, tuple[float, float]]:
    """Where nodes stand: each right of all that supply it, evenly spaced."""
    depth: dict[str, int] = {}
    for name in network.order:
        sources = [lane.source for lane in network.lanes if lane.target == name and lane.source != OUTSIDE]
        depth[name] = 1 + max((depth[source] for source in sources), default=-1)
    tiers: dict[int, list[str]] = {}
    for name, level in depth.items():
        tiers.setdefault(level, []).append(name)
    return {
        name: (float(level), (len(tier) - 1) / 2 - place)
        for level, tier in tiers.items()
        for place, name in enumerate(tier)
    }


def views(suite: Suite, env_config: Any, policy: Policy, comparison: Comparison) -> list[View]:
    """The network under the trained policy, its stock and orders over time, and bullwhip and costs beside others'."""
    scenario = suite.scenario((suite.measure.scenarios or (suite.scenarios[0].name,))[0])
    worlds = SuiteWorlds(suite.domain, env_config, max_worlds=WORLDS)
    env = cast(SupplyChainEnv, worlds.of(scenario))
    task = cast(SupplyTask, scenario.tasks[0])
    stock, orders = _followed(env, worlds.fit(policy, env), task, suite.seed)
    network = env.network_of(task)
    result = next((found for found in comparison.scenarios if found.name == scenario.name), comparison.scenarios[0])
    covers = dict(zip(network.order, stock.mean(axis=0).tolist(), strict=False))
    named = f"{scenario.title}, mean of {env.num_worlds} worlds"
    drawn: list[tuple[str, str, go.Figure]] = [
        (
            "The network",
            f"{named}: lanes by mean flow, nodes by the stock that the team keeps.",
            network_figure(network, covers),
        ),
        (
            "Stock over time",
            f"{named}, by tier, in steps' worth of what passes through.",
            _lines(network, stock, "stock [steps]"),
        ),
        (
            "Orders over time",
            f"{named}, by tier, as shares of what is ordered on average.",
            _lines(network, orders, "orders [share of mean]"),
        ),
        (
            "Bullwhip by tier",
            "Variance of orders over that of demand, each as a share of its mean.",
            _bullwhip(result, comparison),
        ),
        (
            "What it costs",
            "Costs of an episode by kind, in units of what a node sells in a step.",
            _costs(result),
        ),
    ]
    return [View(title, caption, figure) for title, caption, figure in drawn]


def _followed(env: SupplyChainEnv, policy: Policy, task: SupplyTask, seed: int) -> tuple[Any, Any]:
    """Stock and orders of each node over an episode, as shares of their means, `[T, N]`, mean over worlds."""
    env.set_tasks(task)
    policy.bind(env)
    seen, state, rng = env.reset(seed), None, np.random.default_rng(seed)
    stock, orders = [], []
    for _ in range(task.max_steps - 1):
        actions, state = policy.act(seen, state, deterministic=True, rng=rng)
        seen = env.step(actions).observation
        plan, nodes = env.plan_of(task), env.size.nodes
        stock.append(_covers(env.flows.on_hand(), plan, nodes).mean(axis=0))
        usual = np.where(plan.way_rate > 0, plan.way_rate, 1.0)
        count = np.bincount(plan.owner, plan.way, nodes + 1)[:nodes]
        share = env.flows.pool(np.where(plan.way, env.ordered / usual, 0.0), "owner", nodes)
        orders.append((share / np.where(count > 0, count, 1.0)).mean(axis=0))
    return np.array(stock), np.array(orders)


def _covers(stock: Any, plan: Plan, nodes: int) -> Any:
    """Stock `[B, M]` as steps' worth of what passes through, mean over each node's products, `[B, N]`."""
    there = plan.rate > 0
    at = (np.arange(nodes)[:, None] == plan.site) & there
    return stock / np.where(there, plan.rate, 1.0) @ at.T / np.maximum(at.sum(axis=1), 1)


def _lines(network: Network, table: Any, title: str) -> go.Figure:
    """A line a tier, `[T, N]`."""
    figure = empty_figure(320)
    for role in ROLES:
        own = [place for place, name in enumerate(network.order) if network.nodes[name].role == role]
        if own:
            figure.add_scatter(
                x=np.arange(1, len(table) + 1),
                y=table[:, own].mean(axis=1),
                mode="lines",
                name=role,
                line={"color": ROLE_COLOURS[role]},
            )
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.12})
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text=title, rangemode="tozero")
    return figure


def _bullwhip(result: ScenarioResult, comparison: Comparison) -> go.Figure:
    """A group a tier, a bar a policy."""
    figure, colours = empty_figure(320), policy_colours(comparison)
    tiers = [role for role in reversed(ROLES) if any(_figure_of(p, f"bullwhip_{role}") for p in result.policies)]
    for policy in _shown(result):
        values = [_figure_of(policy, f"bullwhip_{role}") for role in tiers]
        figure.add_bar(x=tiers, y=values, name=label_of(policy.policy), marker_color=colours.get(policy.policy, MUTED))
    figure.update_layout(barmode="group", showlegend=True, legend={"orientation": "h", "y": 1.15})
    figure.update_yaxes(title_text="bullwhip", rangemode="tozero")
    return figure


def _costs(result: ScenarioResult) -> go.Figure:
    """A bar a policy, stacked by kind."""
    figure = empty_figure(340)
    shown = _shown(result)
    for kind, colour in zip(COSTS, (INK, *OTHERS), strict=False):
        values = [-_figure_of(policy, f"objective_{kind}") for policy in shown]
        if any(value > 1e-9 for value in values):
            figure.add_bar(x=[label_of(p.policy) for p in shown], y=values, name=kind, marker_color=colour)
    figure.update_layout(barmode="stack", showlegend=True, legend={"orientation": "h", "y": 1.12})
    figure.update_yaxes(title_text="cost of an episode")
    return figure


def _shown(result: ScenarioResult) -> Sequence[Any]:
    return [policy for policy in result.policies if policy.policy != "random"]


def _figure_of(policy: Any, metric: str) -> float:
    found = policy.metrics.get(metric)
    return 0.0 if found is None else float(found.estimate)


def _heights(places: Mapping[str, tuple[float, float]]) -> dict[float, int]:
    """How many nodes stand above each other, by tier."""
    found: dict[float, int] = {}
    for level, _ in places.values():
        found[level] = found.get(level, 0) + 1
    return found


def _outside(place: tuple[float, float]) -> tuple[float, float]:
    """Where what comes from outside a node comes from."""
    return place[0] - 0.45, place[1]
