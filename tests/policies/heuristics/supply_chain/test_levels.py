"""Tests of the supply-chain rules, against published optima and closed forms."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from envs.supply_chain import SupplyChainEnv, SupplyConfig, SupplyTask, load_network
from policies.heuristics.supply_chain import BASELINES, safety_stocks
from policies.heuristics.supply_chain.clark_scarf import clark_scarf
from policies.heuristics.supply_chain.levels import AsSold, BaseStock, ClarkScarf, Tuned
from policies.heuristics.supply_chain.memory import alone
from policies.heuristics.supply_chain.safety_stocks import MEMORY, critical_ratio, search, tuned
from policies.rollout import play
from rllib_configs.overrides import load
from rllib_configs.stages import stages_of
from tune.suites import suite_of

SERIAL = SupplyConfig(networks=("serial",))


def env(worlds: int = 128, **config: Any) -> SupplyChainEnv:
    """Worlds of the serial system."""
    return SupplyChainEnv(SupplyConfig(**{"networks": ("serial",), **config}), worlds)


def test_clark_and_scarfs_levels_are_those_published() -> None:
    """Snyder and Shen's example 6.1: 22.70, 12.01 and 6.51, at 47.67 a step (stockpyl's digits)."""
    found = clark_scarf(load_network("serial"))
    assert found.echelon == pytest.approx({"plant": 22.700, "store": 12.012, "shop": 6.514}, abs=0.03)
    assert found.cost == pytest.approx(47.6687, abs=0.02)


def test_a_single_node_is_a_newsvendor() -> None:
    """With one node the level is the critical fractile of lead-time demand, in closed form."""
    data = load_network("serial").model_dump(by_alias=True)
    data |= {"nodes": {"shop": data["nodes"]["shop"]}, "lanes": [{**data["lanes"][0], "target": "shop"}]}
    lead, mean, deviation = 2, 5, 1
    found = clark_scarf(load_network(data))
    fractile = NormalDist(mean * lead, deviation * np.sqrt(lead)).inv_cdf(37.12 / (37.12 + 7))
    assert found.echelon["shop"] == pytest.approx(fractile, abs=0.03)
    z = NormalDist().inv_cdf(37.12 / 44.12)
    cost = 44.12 * NormalDist().pdf(z) * deviation * np.sqrt(lead)
    assert found.cost == pytest.approx(cost, rel=0.01)


@pytest.mark.parametrize("name", ["assembly", "distribution", "beer_game"])
def test_other_networks_are_no_serial_systems(name: str) -> None:
    """One line."""
    with pytest.raises(ValueError, match=rf"^network: got '{name}', allowed is a row of nodes, one product, normal"):
        clark_scarf(load_network(name))


def test_the_optimum_is_the_best_rule_and_all_are_in_order() -> None:
    """Nobody beats Clark and Scarf's levels; tuning comes within chance of them, the newsvendor's rule does not."""
    worlds, task = env(), SupplyTask(max_steps=100)
    rules = [ClarkScarf(), Tuned(), BaseStock(critical_ratio, "ratio")]
    rules.append(BaseStock(lambda env, task: np.zeros(env.size.ways), "none"))
    best, second, third, none = (play(worlds, rule, task, seed=5).returns.mean() for rule in rules)
    assert abs(second - best) < 0.02 * abs(best)
    assert min(best, second) > third > none


def test_what_was_sold_is_ordered() -> None:
    """In steady state everybody's orders are customers' demand: no bullwhip."""
    played = play(env(), AsSold(), SupplyTask(max_steps=200), seed=1)
    for role in ("retailer", "distributor", "manufacturer"):
        assert played.metrics[f"bullwhip_{role}"].mean() == pytest.approx(1, abs=0.03)


def test_the_newsvendors_quantiles_reach_upstream() -> None:
    """The penalty is that of the customers, whoever waits; the holding cost each node's own."""
    worlds = SupplyChainEnv(SupplyConfig(networks=("assembly",)), 1)
    found = critical_ratio(worlds, SupplyTask())
    names = [way.name for way in worlds.config.loaded["assembly"].ways]
    wheels = NormalDist().inv_cdf(0.99)  # 15 / 15.05, cut off
    assert found[names.index("wood.wheel")] == pytest.approx(wheels)
    assert found[names.index("carts.cart")] == pytest.approx(NormalDist().inv_cdf(15 / 16.5))


def test_tuned_stocks_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time they come from the file; another task, or another setting, has others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(MEMORY, "built_in", tmp_path / "none.json")
    task = SupplyTask(max_steps=20, spread=0.5)
    first = tuned(env(1), task)
    file = tmp_path / "entrepot" / "safety_stocks.json"
    (entry,) = json.loads(file.read_text()).values()
    assert set(entry["safety"]) == {"to_plant.unit", "to_store.unit", "to_shop.unit"}
    monkeypatch.setattr(safety_stocks, "search", lambda *_: pytest.fail("it was remembered"))
    np.testing.assert_array_equal(tuned(env(1), task), first)
    keys = {MEMORY.key_of(SERIAL, each) for each in (task, SupplyTask(max_steps=21, spread=0.5))}
    keys.add(MEMORY.key_of(SupplyConfig(networks=("serial",), smoothing=0.2), task))
    assert len(keys) == 3


def test_what_comes_with_entrepot_is_tuned_already() -> None:
    """Stages and scenarios have their levels in the file: nobody waits for a search to begin training."""
    config, known = load("supply_chain"), json.loads(MEMORY.built_in.read_text())
    tasks = [stage.task for stage in stages_of(config).stages]
    tasks += [task for scenario in suite_of(config).scenarios for task in scenario.tasks]
    for task in tasks:
        assert isinstance(task, SupplyTask)
        own = alone(config.env_config(), task)  # type: ignore[arg-type]
        entry = known[MEMORY.key_of(own, task)]
        assert set(entry["safety"]) == {way.name for way in load_network(own.networks[0]).ways}


def test_search_is_repeatable() -> None:
    """The same task gives the same stocks, to the bit."""
    task = SupplyTask(max_steps=10)
    first = search(SERIAL, task)
    search.cache_clear()
    np.testing.assert_array_equal(search(SERIAL, task), first)


def test_baselines_hold_both_ends() -> None:
    """Naive and informed are among the rules."""
    assert {BASELINES.naive, BASELINES.informed, BASELINES.attainable} <= set(BASELINES.policies)
