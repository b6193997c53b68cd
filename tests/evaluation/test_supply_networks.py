"""Tests of the pictures of supply chains."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.supply_chain import load_network
from evaluation.compare import compare
from evaluation.suite import load_suite
from evaluation.supply_networks import flows_of, network_figure, places_of, stock_at_start
from evaluation.views import views_of
from policies.heuristics.supply_chain.levels import Tuned
from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from tune.networks import show_network


def test_goods_flow_from_left_to_right_and_add_up() -> None:
    """Every lane leads right; what comes to a warehouse leaves it."""
    network = load_network("stage_2")
    places, flows = places_of(network), flows_of(network)
    assert len(set(places.values())) == len(network.nodes)
    assert all(places[lane.source][0] < places[lane.target][0] for lane in network.lanes if lane.source in places)
    for name in ("warehouse_0", "warehouse_1"):
        came = sum(sum(flows[lane.name].values()) for lane in network.lanes if lane.target == name)
        left = sum(sum(flows[lane.name].values()) for lane in network.lanes if lane.source == name)
        assert came == pytest.approx(left)


def test_a_picture_shows_every_lane_and_node() -> None:
    """A line a lane, and a mark a node, coloured by its stock."""
    network = load_network("assembly")
    figure = network_figure(network)
    assert len(figure.data) == len(network.lanes) + 1
    assert list(figure.data[-1].text) == list(network.nodes)
    assert list(figure.data[-1].marker.color) == [stock_at_start(network)[name] for name in network.nodes]


def test_a_network_is_shown_or_refused_in_one_line(tmp_path: Path) -> None:
    """The picture is a page of its own."""
    file = tmp_path / "beer.html"
    show_network("beer_game", file)
    assert "plotly" in file.read_text()
    with pytest.raises(
        ConfigError, match=r"^network: got 'nope', allowed are assembly, beer_game, .*, or the path of a"
    ):
        show_network("nope")
    with pytest.raises(ConfigError, match=r"^network: got none, allowed are assembly"):
        show_network(None)


def test_a_report_shows_what_the_team_does() -> None:
    """Network, stock, orders, bullwhip and costs; a domain that names no views has none."""
    suite, config = load_suite("supply_chain"), load("supply_chain").env_config()
    policy = Tuned()
    policy.name = "trained"
    comparison = compare(suite, config, {"trained": policy}, scenarios=["small"])
    views = views_of(suite, config, policy, comparison)
    assert [view.title for view in views] == [
        "The network", "Stock over time", "Orders over time", "Bullwhip by tier", "What it costs",
    ]  # fmt: skip
    stock = views[1].figure.data
    assert [line.name for line in stock] == ["supplier", "manufacturer", "distributor", "retailer"]
    assert all((line.y >= 0).all() and line.y.max() < 20 for line in stock)
    costs = {bar.name: dict(zip(bar.x, bar.y, strict=True)) for bar in views[4].figure.data}
    assert costs["hold"]["as sold"] > costs["hold"]["tuned"] > 0
    assert views_of(load_suite("trading"), None, policy, comparison) == []
