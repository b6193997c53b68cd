"""The trading suite that comes with the repository."""

from __future__ import annotations

from datetime import date

import numpy as np

from curriculum.config import load_curriculum
from envs.synthetic.historical import HistoricalMarket
from envs.trading import TradingEnv, TradingTask
from evaluation.compare import compare
from evaluation.curves import draw_suite
from evaluation.suite import Scenario, load_suite
from evaluation.worlds import SuiteWorlds
from policies.base import RandomPolicy
from policies.heuristics import Baselines, baselines
from policies.heuristics.trading import EqualWeight
from policies.rollout import play

SUITE = load_suite("trading")
ENV = {"symbols": [f"S{n}" for n in range(15)], "num_agents": 2}


class Trained(EqualWeight):
    """Stands for a policy trained on fifteen assets: it acts on what it sees alone."""

    name = "trained"


def small(scenario: Scenario) -> Scenario:
    """The scenario with few, short episodes."""
    steps = {} if scenario.kind == "real" and scenario.variants else {"max_steps": 8}
    task, variants = scenario.task.model_copy(update=steps), scenario.variants[-2:]
    return scenario.model_copy(update={"episodes": min(2, scenario.episodes), "task": task, "variants": variants})


def test_every_stage_is_examined_and_seeds_are_apart() -> None:
    """Each stage of the curriculum has a held-out scenario with its very task; test seeds are not validation's."""
    held_out = {s.stage: s.task.model_copy(update={"name": s.stage}) for s in SUITE.scenarios if s.kind == "held_out"}
    assert held_out == {stage.name: stage.task for stage in load_curriculum("trading").stages}
    assert SUITE.seed != SUITE.validation.seed


def test_every_scenario_can_be_played() -> None:
    """All scenarios and variants, real ones included, run with a policy of fifteen assets, and columns exist."""
    suite = SUITE.model_copy(update={"scenarios": tuple(small(scenario) for scenario in SUITE.scenarios)})
    all_of_them = baselines("trading")
    few = {name: all_of_them.policies[name] for name in ("cash", "equal_weight", "oracle")}
    found = compare(suite, ENV, {"trained": Trained()}, yardsticks=Baselines("cash", "oracle", few))
    assert [result.name for result in found.scenarios] == [scenario.name for scenario in SUITE.scenarios]
    for result in found.scenarios:
        trained, twin = result.of("trained"), result.of("equal_weight")
        assert trained is not None
        assert twin is not None
        assert {column.metric for column in SUITE.columns} <= set(trained.metrics)
        assert trained.mean_return == twin.mean_return  # fitted to four assets it does what it would have done


def test_real_windows_are_held_out_and_share_no_day() -> None:
    """Nothing real is played before 2010, each window is one known path, and no two trade the same day."""
    scenario = SUITE.scenario("real_windows")
    env = SuiteWorlds("trading", ENV).of(scenario)
    assert isinstance(env, TradingEnv)
    assert isinstance(env.market, HistoricalMarket)
    last = date(2010, 1, 1)
    for task in scenario.tasks:
        assert isinstance(task, TradingTask)
        env.set_tasks(task)
        env.reset(SUITE.seed)
        (warm,) = set(env.market.dates())  # the same in every world: the last day before the first trade
        assert last <= warm
        assert str(warm) < task.name.removeprefix("real_")
        assert task.end is not None
        last = task.end
    assert len(scenario.tasks) == 12


def test_nobody_earns_without_drift() -> None:
    """On martingales the oracle stays in cash, and the random policy pays."""
    scenario = SUITE.scenario("no_drift")
    env = SuiteWorlds("trading", ENV, max_worlds=8).of(scenario)
    assert (play(env, RandomPolicy(), scenario.task, seed=1).metrics["profit"] < 0).mean() > 0.9


def test_curves_have_dates_on_real_prices_only() -> None:
    """The real path is drawn from 2010 on, a date a step; simulated ones over steps; both begin at 1."""
    chosen = tuple(small(SUITE.scenario(name)) for name in ("master", "real_whole"))
    suite = SUITE.model_copy(update={"scenarios": chosen})
    simulated, real = draw_suite(suite, ENV, {"trained": Trained()})
    assert simulated.dates == ()
    assert len(real.dates) == len(real.curves[0].mean) == 8
    assert real.dates[0] >= "2010-04"
    assert list(real.dates) == sorted(set(real.dates))
    assert all(curve.mean[0] == 1.0 for drawn in (simulated, real) for curve in drawn.curves)
    cash = next(curve for curve in real.curves if curve.policy == "cash")
    assert np.allclose(cash.mean, 1.0)
