"""Tests of rules that do not only order up to a level."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.supply_chain import SupplyChainEnv, SupplyConfig, SupplyTask
from policies.heuristics.supply_chain import RULES
from policies.heuristics.supply_chain.orderers import Sterman, capped, quantities, reordered
from policies.rollout import play


def made(network: str = "serial", **config: Any) -> SupplyChainEnv:
    """Two worlds, begun."""
    env = SupplyChainEnv(SupplyConfig(**{"networks": (network,), "reach": 10.0, **config}), 2)
    env.reset(0)
    return env


def test_nothing_is_ordered_above_the_reorder_point() -> None:
    """(s, S) orders up to S from s on, and else only what is asked for in the same step, nothing at the shop."""
    env = made()
    there = env.there()
    shop = env.orders(reordered(env, there + 5.0, np.full_like(there, 6.0)))[:, -1]
    assert (shop == 0).all()
    np.testing.assert_allclose(env.orders(reordered(env, there + 5.0, np.full_like(there, 4.0)))[:, -1], 5.0)


def test_no_more_than_the_cap_is_ordered() -> None:
    """Beside what is asked for in the same step."""
    env = made()
    there = env.there()
    np.testing.assert_allclose(env.orders(capped(env, there + 9.0, np.full_like(there, 2.0)))[:, -1], 2.0)


def test_quantities_are_harris() -> None:
    """sqrt(2 K d / h) where there is a fee; 0 where there is none."""
    env = made("stage_1")
    found, plan = quantities(env, SupplyTask(network="stage_1")), env.plan_of(SupplyTask(network="stage_1"))
    hold = np.append(plan.hold, 0)[plan.target]
    assert (found[plan.order == 0] == 0).all()
    np.testing.assert_allclose((found**2 * hold)[plan.order > 0], (2 * plan.order * plan.way_rate)[plan.order > 0])


def test_levels_and_orders_are_each_others_inverse() -> None:
    """Whatever is to be ordered, there are levels that order it, all nodes together."""
    rng = np.random.default_rng(0)
    for network in ("serial", "assembly", "stage_2"):
        env = made(network)
        for _ in range(5):
            wanted = rng.uniform(0, 20, env.flows.plan.price.shape) * env.flows.plan.way
            np.testing.assert_allclose(env.orders(env.levels_for(wanted)), wanted, atol=1e-6)
            env.step(env.actions_for(env.levels_for(wanted)))


def test_people_make_the_bullwhip() -> None:
    """In the beer game orders swing more the further upstream they are (Sterman 1989), and cost more than tuned."""
    env, task = made("beer_game", reach=4.0), SupplyTask(max_steps=60)
    people = play(env, Sterman(), task, seed=0)
    swings = [people.metrics[f"bullwhip_{role}"].mean() for role in ("retailer", "distributor", "manufacturer")]
    assert swings[0] > 1.0
    assert swings == sorted(swings)
    tuned = play(env, RULES["tuned"](), task, seed=0)
    assert people.returns.mean() < tuned.returns.mean()


def test_what_people_expect_is_forgotten_with_the_episode() -> None:
    """Worlds that begin anew begin with the network's mean; the others remember."""
    env, rule = made("beer_game"), Sterman()
    rule.bind(env)
    seen, rng = env.observe(), np.random.default_rng(0)
    _, state = rule.act(seen, None, deterministic=True, rng=rng)
    kept = rule.forget(state, np.array([1]))
    assert np.isnan(kept[1]).all()
    assert not np.isnan(kept[0]).any()
    assert rule.forget(None, np.array([0])) is None
