"""Tests of the supply-chain env: the contract, its money, its orders, and what is known where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from envs.contract import check_env
from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.disruptions import Delay, Disruption, Disruptions, Outage, Surge
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.files import FOLDER

WRONG = Disruptions(
    nodes=Outage(chance=0.1, length=3, strength=0.5),
    lanes=Disruption(chance=0.1, length=2),
    delays=Delay(chance=0.1, length=2, steps=2),
    surges=Surge(chance=0.1, length=3, factor=2),
)


def make(worlds: int = 1, first: int = 0, task: Any = None, **config: Any) -> SupplyChainEnv:
    """Worlds of the given networks."""
    return SupplyChainEnv(SupplyConfig(**config), worlds, task=task, first_world=first)


def acting(env: SupplyChainEnv, levels: Any) -> Any:
    """A step in which every way orders up to a level."""
    return env.step(env.actions_for(np.broadcast_to(levels, env.flows.plan.price.shape)))


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize(
    ("networks", "task", "more"),
    [
        (("serial",), SupplyTask(max_steps=12), {}),
        (("assembly",), SupplyTask(max_steps=12, disruptions=WRONG), {"longest_delay": 2, "team_weight": 0.3}),
        (("distribution", "beer_game"), SupplyTask(max_steps=12), {"collaboration": True}),
    ],
)
def test_it_keeps_the_contract(mode: str, networks: Any, task: SupplyTask, more: dict[str, Any]) -> None:
    """Whatever the network, whatever goes wrong."""
    check_env(
        lambda worlds, first: make(worlds, first, task, networks=networks, action_mode=mode, **more), worlds=3, steps=30
    )


def test_worlds_of_different_networks_are_those_of_each() -> None:
    """Side by side, a network earns what it earns alone in arrays of the same size."""
    networks = ("serial", "assembly", "distribution")
    both = make(3, networks=networks)
    tasks = [SupplyTask(max_steps=20, network=name) for name in networks]
    both.set_tasks(tasks)
    both.reset(4)
    for world, task in enumerate(tasks):
        alone = make(1, world, task, networks=networks)
        alone.reset(4)
        both.reset(4)
        for _ in range(20):
            mean, deviation = both.expected()
            step = both.step(both.actions_for(mean + deviation))
            mean, deviation = alone.expected()
            wanted = alone.step(alone.actions_for(mean + deviation))
            for role, rewards in wanted.rewards.items():
                np.testing.assert_array_equal(step.rewards[role][world], rewards[0])


def test_a_short_episode_ends_alike_beside_a_long_one() -> None:
    """What is seen last is of the world's own episode, however much longer others are."""
    wrong = Disruptions(nodes=Outage(chance=0.9, length=1000))
    short, long = (SupplyTask(max_steps=steps, disruptions=wrong) for steps in (5, 9))
    both, alone = make(2, networks=("serial",)), make(1, networks=("serial",), task=short)
    both.set_tasks([short, long])
    both.reset(0)
    alone.reset(0)
    for _ in range(10):  # two episodes: by the second one there is room for the longer ones
        step, wanted = acting(both, 20.0), acting(alone, 20.0)
    assert step.final is not None
    assert wanted.final is not None
    for role, seen in wanted.final.observation.observations.items():
        np.testing.assert_array_equal(step.final.observation.observations[role][0], seen[0])
        assert (seen[0, :, 1] == 0).all()


def test_the_optimum_costs_what_it_is_said_to() -> None:
    """Clark and Scarf's local levels, ordered by the agents' own actions, cost 47.67 a step: the env adds nothing."""
    worlds, steps = 256, 400
    env = make(worlds, networks=("serial",), task=SupplyTask(max_steps=steps), reach=20)
    env.reset(0)
    total = np.zeros(worlds)
    for step in range(steps):
        result = acting(env, [22.700237 - 12.012332, 12.012332 - 6.514439, 6.514439])
        if step >= 50:
            total += sum(array[:, :, 0].sum(axis=1) for array in money_of(result)) * env.money
    mean = -total / (steps - 50)
    assert abs(mean.mean() - 47.67) < 0.01 * 47.67


def money_of(result: Any) -> list[Any]:
    """What each group's agents earn: all objectives but emissions and swings, `[B, A, 1]`."""
    return [array[:, :, :5].sum(axis=2, keepdims=True) for array in result.objectives.values()]


def test_orders_are_known_upstream_in_the_same_step() -> None:
    """Under base-stock levels everybody orders exactly what customers asked for."""
    env = make(networks=("serial",), task=SupplyTask(max_steps=60), reach=20)
    env.reset(1)
    for _ in range(40):
        acting(env, [16.0, 10.0, 12.0])
    for _ in range(10):
        wanted = env.wanted[0, 2]
        acting(env, [16.0, 10.0, 12.0])
        np.testing.assert_allclose(env.ordered[0], wanted, rtol=1e-5, atol=1e-4)


def test_what_nodes_pay_each_other_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole network's money only what comes from customers and goes outside, or to makers, is left."""
    env = make(networks=("assembly",), task=SupplyTask(max_steps=30))
    env.reset(0)
    moves: list[Any] = []
    step = env.flows.step
    monkeypatch.setattr(env.flows, "step", lambda *given: moves.append(step(*given)) or moves[-1])
    plan = env.flows.plan
    outside = plan.source == env.size.cells  # what is made among it
    for _ in range(25):
        mean, deviation = env.expected()
        result = env.step(env.actions_for(mean + deviation))
        trade = sum(array[0, :, :2].sum() for array in result.objectives.values()) * env.money[0]
        moved = moves[-1]
        wanted = (moved.served * plan.sale).sum() - (moved.sent * plan.price * outside).sum()
        assert trade == pytest.approx(wanted, rel=1e-4)


def test_a_faster_lane_is_used_when_it_counts() -> None:
    """Two lanes to one product are a dual-index policy: the fast one sees only what comes in time, the slow one all."""
    env = make(networks=("assembly",), task=SupplyTask(max_steps=30))
    env.reset(0)
    names = [way.name for way in env.config.loaded["assembly"].ways]
    slow, fast = names.index("frames.frame"), names.index("frames_express.frame")
    assert env.flows.plan.fastest[0, [fast, slow]].tolist() == [True, False]
    levels = env.there()
    levels[0, fast] += 3
    levels[0, slow] = env.there()[0, slow] + 10
    orders = env.orders(levels)[0]
    changed = orders[names.index("make.cart")]
    assert orders[fast] == pytest.approx(3 + changed)
    assert orders[slow] == pytest.approx(7)


def test_collaboration_passes_customers_demand_upstream() -> None:
    """Without it a node expects what it was asked for; with it, what customers did, in its product's units."""
    alone, together = (
        make(networks=("assembly",), collaboration=flag, smoothing=1.0, reach=10.0) for flag in (False, True)
    )
    for env in (alone, together):
        env.reset(0)
        acting(env, env.there() + np.where(env.flows.plan.fastest, 50.0, 0.0))
    sold = together.wanted[0].sum()
    mean = dict(zip(together.config.loaded["assembly"].cells, together.forecasts.mean[0], strict=True))
    assert mean["shop", "cart"] == mean["factory", "cart"] == pytest.approx(sold)
    assert mean["factory", "wheel"] == mean["wheelwright", "wheel"] == pytest.approx(4 * sold)
    assert alone.forecasts.mean[0].max() > 4 * sold + 10


def test_what_goes_wrong_is_seen_only_where_there_is_an_alarm() -> None:
    """A node that stands still sends nothing, and its agent sees it, if agents may."""
    always = Outage(chance=0.99, length=1000, places=("store",))
    for alarm in (True, False):
        wrong = Disruptions(nodes=always, alarm=alarm)
        env = make(networks=("serial",), task=SupplyTask(max_steps=10, disruptions=wrong))
        env.reset(0)
        for _ in range(3):
            seen = acting(env, 50.0).observation
        assert env.flows.open[0, 2] > 0  # the store owes the shop
        assert seen.observations["distributor"][0, 0, 1] == (0.0 if alarm else 1.0)
        assert seen.observations["retailer"][0, 0, 1] == 1.0


def test_observations_know_no_units(tmp_path: Path) -> None:
    """A network ten times as large looks the same, and the same actions earn the same."""
    data = yaml.safe_load((FOLDER / "serial.yaml").read_text())
    for node in data["nodes"].values():
        node["stock"] *= 10
    data["nodes"]["shop"]["sells"]["unit"]["demand"]["level"] *= 10
    small = make(4, networks=("serial",))
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(data))
    big = make(4, networks=(str(tmp_path / "large.yaml"),))
    one, other = small.reset(0), big.reset(0)
    actions = {role: np.full((4, group.size, 1), 0.3, np.float32) for role, group in small.groups.items()}
    for _ in range(20):
        for role, seen in one.observations.items():
            np.testing.assert_allclose(seen, other.observations[role], rtol=1e-4, atol=1e-5)
        first, second = small.step(actions), big.step(actions)
        one, other = first.observation, second.observation
        for role, rewards in first.rewards.items():
            np.testing.assert_allclose(rewards, second.rewards[role], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "task", "said"),
    [
        ({}, {"network": "chain"}, r"network: got 'chain', allowed are serial"),
        ({}, {"disruptions": {"nodes": {"chance": 0.1, "length": 2, "places": ["x"]}}}, r"disruptions.nodes: got 'x'"),
        (
            {},
            {"disruptions": {"delays": {"chance": 0.1, "length": 2, "steps": 3}}},
            r"delays.steps: got 3, allowed",
        ),
        ({"networks": ("serial", "serial")}, {}, r"networks: got \['serial', 'serial'\], allowed are networks of"),
        ({"networks": ("none",)}, {}, r"network: got 'none', allowed are assembly"),
    ],
)
def test_what_is_not_there_is_named(config: dict[str, Any], task: dict[str, Any], said: str) -> None:
    """Networks, nodes and lanes are checked before anything is played."""
    with pytest.raises(ValueError, match=said):
        make(task=SupplyTask(**task), **config)
