"""Tests of the workforce rules: what they order is done, and the better informed they are the better they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from curriculum.config import load_curriculum
from envs.resource_allocation.workforce import WorkforceConfig, WorkforceEnv, WorkforceTask
from envs.resource_allocation.workforce.config import Days
from envs.resource_allocation.workforce.env import GROUP
from policies.heuristics.workforce import RULES
from policies.heuristics.workforce.planner import ErlangPlanner
from policies.heuristics.workforce.rules import Manager
from policies.rollout import play

SOME = WorkforceTask(days=Days(common=0.25, own=0.1), absence=0.1)


@pytest.mark.parametrize("name", list(RULES))
def test_what_a_rule_orders_is_done(name: str) -> None:
    """Its actions come to its orders, within a worker where more are called or sent than actions can say."""
    env = WorkforceEnv(WorkforceConfig(), 2, task=SOME)
    rule = RULES[name]()
    assert isinstance(rule, Manager)
    rule.bind(env)
    env.reset(0)
    apart, ordered = 0, 0
    for _ in range(16):
        orders = rule.ordered()
        actions = env.actions_for(orders)
        done = env.orders(actions)
        for field in ("call", "home"):
            apart += np.abs(getattr(orders, field) - getattr(done, field)).sum()
            ordered += getattr(orders, field).sum()
        np.testing.assert_array_equal(orders.lent, done.lent)
        env.step(actions)
    assert apart <= 0.2 * ordered


def test_discrete_orders_come_near() -> None:
    """With nine choices a branch the planner still earns most of what it gains over the roster."""
    gains = {}
    for mode in ("continuous", "discrete"):
        env = WorkforceEnv(WorkforceConfig(action_mode=mode), 8)
        means = [play(env, RULES[name](), SOME, seed=3).returns.mean() for name in ("roster", "erlang")]
        gains[mode] = means[1] - means[0]
    assert gains["discrete"] > 0.6 * gains["continuous"] > 0


def test_knowing_more_earns_more() -> None:
    """Roster, mean day, posterior of the day's level, the level itself: each earns more; and lending helps."""
    env = WorkforceEnv(WorkforceConfig(), 12)
    task = WorkforceTask(days=Days(common=0.25, own=0.2))
    names = ("roster", "mean_day", "no_lending", "erlang", "oracle")
    earned = [play(env, RULES[name](), task, seed=11).returns.mean() for name in names]
    assert earned == sorted(earned)


@pytest.mark.parametrize("stage", load_curriculum("workforce").stages, ids=lambda stage: stage.name)
def test_the_informed_rule_beats_the_naive_one_on_every_stage(stage: Any) -> None:
    """By more than chance: else scores would mean nothing."""
    env = WorkforceEnv(WorkforceConfig(), 8)
    naive, informed = (play(env, RULES[name](), stage.task, seed=2).returns for name in ("roster", "erlang"))
    gain = informed - naive
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_on_quiet_days_workers_go_home_and_on_busy_ones_they_are_called_in() -> None:
    """With a third of the calls planned for, and with twice as many: all on call come, and hardly one goes."""
    env = WorkforceEnv(WorkforceConfig(), 2)
    quiet, busy = (play(env, ErlangPlanner(), WorkforceTask(load=load), seed=0).metrics for load in (0.33, 2.0))
    assert quiet["called_in"].max() <= 2
    assert quiet["sent_home"].min() > 25
    assert busy["called_in"].min() == 18
    assert busy["sent_home"].max() <= 2


def test_a_rule_wants_a_workforce() -> None:
    """Another env is refused by its type."""
    with pytest.raises(TypeError, match="env: got str, allowed is WorkforceEnv"):
        RULES["roster"]().bind("env")  # type: ignore[arg-type]


def test_actions_of_nobody_are_nothing() -> None:
    """Of skills that are not there, and of skills that a team does not know, actions are 0."""
    env = WorkforceEnv(WorkforceConfig(), 1, task=WorkforceTask(skills=2))
    env.reset(0)
    rule = RULES["erlang"]()
    rule.bind(env)
    actions, _ = rule.act(env.observe(), None, deterministic=True, rng=np.random.default_rng(0))
    assert not actions[GROUP][0, 2:].any()
    assert not actions[GROUP][0, :2, 6:].any()
