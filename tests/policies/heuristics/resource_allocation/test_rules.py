"""Tests of the rules: each does what its name says, and marginal welfare earns most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.resource_allocation import AllocationConfig, AllocationEnv, AllocationTask
from envs.resource_allocation.env import GROUP
from envs.resource_allocation.placing import loads
from policies.heuristics.resource_allocation import RULES
from policies.heuristics.resource_allocation.rules import Allocator
from policies.rollout import play


def bound(name: str, **task: Any) -> tuple[AllocationEnv, Any]:
    """A rule in worlds that have been played for a while."""
    env = AllocationEnv(AllocationConfig(), 6, task=AllocationTask(max_steps=60, **task))
    rule = RULES[name]()
    rule.bind(env)
    seen = env.reset(0)
    for _ in range(20):
        actions, _ = rule.act(seen, None, deterministic=True, rng=np.random.default_rng(0))
        seen = env.step(actions).observation
    return env, rule


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_asks_for_is_asked_for(name: str) -> None:
    """Actions say what the rule means, within float32."""
    env, rule = bound(name, load=1.5)
    asked = rule.asked()
    actions, _ = rule.act(env.observe(), None, deterministic=True, rng=np.random.default_rng(0))
    wanted = np.where((asked * env.slots.dominant).sum(axis=2, keepdims=True) > 0, asked, 0.0)
    got = env.requests(actions)
    part = (wanted * env.slots.dominant).sum(axis=2)
    within = part <= env.quota * (1 - 1e-6)
    np.testing.assert_allclose(got[within], wanted[within], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["deadline", "shortest", "first_come", "marginal_welfare"])
def test_who_is_served_in_order_fits(name: str) -> None:
    """What is given one after the other fits all together, and nearly all that could be given is."""
    env, rule = bound(name, load=2.0)
    asked = rule.asked()
    flat = asked.reshape(6, 1, -1)
    needs = env.slots.needs.reshape(6, env.size.resources, -1)
    assert (loads(flat, needs)[:, 0] <= env.capacity().sum(axis=1) * (1 + 1e-9)).all()
    env.step(env.actions_for(asked))
    assert env.granted.sum() > 0.8 * asked.sum()


def test_who_has_had_least_is_served_first() -> None:
    """Over the run: of two tenants with work the one that has had less comes first."""
    env, rule = bound("dynamic_drf", load=2.0)
    had, index = rule.account(), rule.index()
    for world in range(6):
        order = np.argsort(had[world])
        best = np.where(env.slots.there[world], index[world], -np.inf).max(axis=1)[order]
        busy = best[np.isfinite(best)]
        assert (np.diff(busy) <= 1e-3).all()


def test_round_robin_pays_from_what_was_saved() -> None:
    """Jobs that a tenant can pay for come before all that nobody can; an idle tenant saves nothing."""
    env, rule = bound("deficit_round_robin", load=2.0)
    saved, index, slots = rule.account(), rule.index(), env.slots
    assert (saved[~slots.there.any(axis=2)] == 0).all()
    parts = slots.usable() * slots.dominant
    oldest = slots.since == np.where(slots.there, slots.since, 10**6).min(axis=2, keepdims=True)
    paid = slots.there & oldest & (parts.sum(axis=2, keepdims=True) <= saved[..., None])
    assert paid.any()
    assert (index[paid] >= -1e-6 * env.clock.max()).all()


def test_best_fit_takes_what_needs_most_of_what_is_free() -> None:
    """The job of all whose task takes most, by the shares that it takes of all resources."""
    env, rule = bound("best_fit", load=2.0)
    free = env.capacity().sum(axis=1)
    index = np.where(env.slots.there, rule.index(), 0.0)
    for world in range(6):
        tenant, slot = np.unravel_index(index[world].argmax(), index[world].shape)
        shares = env.slots.needs[world, :, tenant, slot] / free[world]
        assert index[world].max() == pytest.approx(shares.sum())


def test_an_even_part_is_no_more() -> None:
    """Nobody asks for more than one part in so many of the cluster."""
    env, rule = bound("equal_split", load=2.0)
    part = (rule.asked() * env.slots.dominant).sum(axis=2)
    assert (part <= 1 / 8 + 1e-9).all()
    assert part.max() == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    "task", [{"load": 0.9}, {"load": 1.4}, {"load": 1.4, "alpha": 0.0}, {"load": 1.4, "alpha": 50.0}]
)
def test_marginal_welfare_earns_most(task: dict[str, Any]) -> None:
    """Of all rules, whatever counts, within a hundredth and chance."""
    plays = AllocationTask(max_steps=60, **task)
    env = AllocationEnv(AllocationConfig(), 48, task=plays)
    earned = {name: play(env, make(), plays, seed=5).returns for name, make in RULES.items()}
    best = max(earned.values(), key=np.mean)
    lead = best - earned["marginal_welfare"]
    assert lead.mean() <= 0.01 * best.mean() + 2 * lead.std() / np.sqrt(lead.size)
    assert earned["marginal_welfare"].mean() > 1.2 * earned["equal_split"].mean()


def test_other_envs_are_refused() -> None:
    """A rule of this domain says which env it is for."""
    with pytest.raises(TypeError, match="allowed is AllocationEnv"):
        next(iter(RULES.values()))().bind(object())  # type: ignore[arg-type]
    assert issubclass(RULES["drf"], Allocator)
    assert GROUP == "tenant"
