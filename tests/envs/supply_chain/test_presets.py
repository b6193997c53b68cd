"""Tests of networks that are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.supply_chain import SupplyChainEnv, SupplyConfig, load_network
from envs.supply_chain.plan import Plan, Size
from envs.supply_chain.presets import tiered

STAGES = {
    "stage_1": {"suppliers": 2, "products": 3, "factories": 1, "warehouses": 1, "shops": 2, "cv": 0.2},
    "stage_2": {"suppliers": 4, "products": 6, "factories": 2, "warehouses": 2, "shops": 4, "cv": 0.3},
    "stage_3": {"suppliers": 8, "products": 10, "factories": 3, "warehouses": 3, "shops": 6, "cv": 0.6},
}


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_are_what_their_files_say_drew_them(name: str) -> None:
    """The same seed gives the same network, to the last digit."""
    assert load_network(name) == tiered(name, seed=1, **STAGES[name])  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(0, 100)
)
def test_any_size_hangs_together(
    suppliers: int, products: int, factories: int, warehouses: int, shops: int, seed: int
) -> None:
    """Whatever the numbers: everything is supplied, and what passes through suppliers is what shops sell, by recipe."""
    network = tiered(
        "any",
        suppliers=suppliers,
        products=products,
        factories=factories,
        warehouses=warehouses,
        shops=shops,
        seed=seed,
    )
    size = Size.of([network])
    plan = Plan.of(network, size)
    materials = [name for name, product in network.products.items() if not product.recipe]
    made = {name: sum(product.recipe.values()) for name, product in network.products.items()}
    sold = sum(sale.demand.level * made[good] for node in network.nodes.values() for good, sale in node.sells.items())
    roles = [node.role for node in network.nodes.values()]
    bought = np.array([product in materials for _, product in network.cells]) & (plan.site < roles.count("supplier"))
    assert plan.rate[bought].sum() == pytest.approx(sold, rel=1e-6)


def test_a_hundred_nodes_are_stepped(tmp_path: Path) -> None:
    """From 1 to 100 and more: a network of 104 nodes is one env like others."""
    network = tiered("wide", suppliers=12, products=12, factories=6, warehouses=6, shops=80, seed=3)
    assert len(network.nodes) == 104
    file = tmp_path / "wide.yaml"
    file.write_text(yaml.safe_dump(network.model_dump(mode="json", by_alias=True)))
    env = SupplyChainEnv(SupplyConfig(networks=(str(file),)), 2)
    env.reset(0)
    mean, deviation = env.expected()
    assert env.step(env.actions_for(mean + deviation)).rewards["retailer"].shape == (2, 80)
