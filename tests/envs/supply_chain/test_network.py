"""Tests of networks and their files: what does not hang together is named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from envs.supply_chain.disruptions import Disruption
from envs.supply_chain.files import FOLDER, load_network, network_names
from envs.supply_chain.network import NetworkError, order_of
from envs.supply_chain.plan import Plan, Size
from envs.synthetic.groceries import CATEGORIES, GROUPS

CART = yaml.safe_load((FOLDER / "assembly.yaml").read_text())


def changed(path: str, value: Any) -> dict[str, Any]:
    """The assembly network with one thing changed; None: taken away."""
    data = yaml.safe_load((FOLDER / "assembly.yaml").read_text())
    *way, last = path.split("/")
    place: Any = data
    for key in way:
        place = place[int(key) if isinstance(place, list) else key]
    if value is None:
        place.pop(int(last) if isinstance(place, list) else last)
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return dict(data)


@pytest.fixture
def groceries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something in the place of what `make data` fetches."""
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path))
    series = [f"stores_{group}/{name}" for group in range(GROUPS) for name in CATEGORIES]
    days = pd.date_range("2017-01-01", periods=70)
    rows = [(day, each, 50.0) for each in series for day in days]
    pd.DataFrame(rows, columns=["date", "series", "quantity"]).to_parquet(tmp_path / "groceries.parquet")


@pytest.mark.usefixtures("groceries")
@pytest.mark.parametrize("name", network_names())
def test_what_comes_with_entrepot_is_sound(name: str) -> None:
    """Every file is read, goes by its own name, and all its ways lead upstream first."""
    network = load_network(name)
    assert network.name == name
    order = order_of(network)
    assert all(order.index(way.source) <= order.index(way.target) for way in network.ways if way.source in order)
    assert load_network(network.model_dump(by_alias=True)) == network


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("lanes/5/source", "shop", "lane 'carts': goes from 'shop' to itself"),
        (
            "lanes/2/target",
            "nowhere",
            "lane 'frames': target: got 'nowhere', allowed are forge, wheelwright, factory, shop",
        ),
        ("lanes/2/products", ["door"], "lane 'frames': products: got 'door', allowed are frame, wheel, cart"),
        ("lanes/3/name", "frames", "lane 'frames': is there twice, allowed is once"),
        ("lanes/1", None, "node 'wheelwright': sends, uses or sells 'wheel', which never comes there"),
        ("lanes/5", None, "node 'factory': is an orphan, nothing leaves it"),
        ("products/frame/recipe", {"cart": 1}, "recipes: go round in a circle through cart, frame"),
        ("nodes/factory/makes", {"frame": {"lead_time": 1}}, "node 'factory': makes 'frame', which has no recipe"),
        ("nodes/shop/sells", {"wheel": {"demand": {"level": 1}}}, "node 'shop': sends, uses or sells 'wheel'"),
        ("nodes/forge/stock", {"door": 1}, "node 'forge': stock: got 'door', allowed are frame, wheel, cart"),
        ("lanes/0/lead_time", -1, "lanes.0.lead_time.least: got -1"),
        ("lanes/0/lead_time", {"least": 3, "most": 2}, "lanes.0.lead_time: most: got 2, allowed is 3"),
        ("lanes/0/price", float("nan"), "lanes.0.price: got nan"),
        ("lanes/0/yield", 1.5, "lanes.0.yield: got 1.5"),
        ("lanes/0/yield_spread", 0.5, "yield_spread: got 0.5, allowed keeps yield 1 in"),
        ("nodes/factory/makes/cart/capacity", 3, "nodes.factory.makes.cart.capacity: unknown key"),
        ("nodes/forge/speed", 3, "nodes.forge.speed: unknown key"),
        ("nodes/shop/role", "king", "nodes.shop.role: got 'king'"),
        ("nodes/shop/sells/cart/demand", None, "nodes.shop.sells.cart.demand: missing"),
        ("nodes/outside", {"role": "supplier"}, "nodes: got 'outside', allowed are other names"),
        ("products/glue", {}, "product 'glue': nobody buys it outside, and it has no recipe"),
    ],
)
def test_what_does_not_hang_together_is_named(tmp_path: Path, path: str, value: Any, said: str) -> None:
    """File, node, lane or key, what was given and what is allowed."""
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(changed(path, value), sort_keys=False))
    with pytest.raises(NetworkError) as error:
        load_network(file)
    assert str(error.value).startswith(f"{file}: ")
    assert said in str(error.value)


def test_a_circle_is_named() -> None:
    """Goods that come back to where they were."""
    data = changed("lanes/0/source", "shop")
    data["lanes"][0] |= {"source": "shop", "products": ["cart"]}
    with pytest.raises(NetworkError, match=r"lanes: go round in a circle through factory, forge, shop"):
        load_network(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [("lanes: }", "mine.yaml: line 1, column 8: "), ("- a", "got list, allowed is a mapping with name, products")],
)
def test_files_that_are_none_are_named(tmp_path: Path, content: str, said: str) -> None:
    """One line with the place of the fault."""
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(NetworkError, match=said):
        load_network(file)
    with pytest.raises(NetworkError, match=r"none.yaml: cannot be read \(No such file or directory\)"):
        load_network(tmp_path / "none.yaml")
    with pytest.raises(NetworkError, match="network: got 'none', allowed are assembly, "):
        load_network("none")


def test_a_network_that_is_too_large_is_refused() -> None:
    """Arrays are sized beforehand."""
    size = Size.of([load_network("serial")])
    with pytest.raises(
        NetworkError, match=r"^network 'assembly': needs Size\(nodes=4, .*, allowed is at most Size\(nodes=3"
    ):
        Plan.of(load_network("assembly"), size)


def test_disruptions_last_as_long_as_they_say() -> None:
    """A share chance / (chance + 1 / length) of the time, in runs of the mean length, at the places named only."""
    found = Disruption(chance=0.02, length=5, places=("a",)).drawn(40_000, ("a", "b"), [np.random.default_rng(0)])[0]
    assert not found[:, 1].any()
    assert found[:, 0].mean() == pytest.approx(0.02 / 0.22, rel=0.1)
    starts = (np.diff(found[:, 0].astype(int)) == 1).sum()
    assert found[:, 0].sum() / starts == pytest.approx(5, rel=0.1)
