"""Tests of the yardsticks of unknown demand: their exact costs, by other ways of adding up, and in play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import gamma, poisson

from envs.newsvendor import NewsvendorEnv, NewsvendorTask
from envs.registry import get_domain
from policies.heuristics import baselines
from policies.heuristics.newsvendor import expected_costs
from policies.rollout import play

SMALL = NewsvendorTask(max_steps=3, shape=1.5, scale=2.0, underage=4.0, overage=1.0)


@pytest.fixture(scope="module")
def exact() -> dict[str, NDArray[np.float64]]:
    """What each rule costs, period by period."""
    return expected_costs(NewsvendorTask())


def test_the_anchor(exact: Any) -> None:
    """Knowing the rate, by Bayes, plugging in the mean, by the last period alone, and ordering the same for ever."""
    found = {name: round(float(costs.mean()), 2) for name, costs in exact.items()}
    assert found == {"informed": 7.72, "bayes": 9.67, "plug_in": 10.24, "last": 12.30, "constant": 32.45}
    assert exact["bayes"][0] == exact["constant"][0]
    assert (np.diff(exact["bayes"]) < 0).all()
    assert (exact["bayes"] <= np.minimum(exact["plug_in"], exact["last"]) + 1e-9).all()
    assert (exact["bayes"] >= exact["informed"]).all()


def test_costs_by_summing_over_everything() -> None:
    """Of a small task, Bayes' cost is the least of any order, summed over rates and over all that can be seen."""
    rates = np.linspace(1e-4, 60, 6001)
    prior = gamma.pdf(rates, SMALL.shape, scale=SMALL.scale) * (rates[1] - rates[0])
    demand = np.arange(80)
    likely = poisson.pmf(demand[:, None], rates)  # [D, R]
    orders = np.arange(60)
    over = orders[:, None] - demand
    each = np.where(over > 0, SMALL.overage * over, -SMALL.underage * over)  # [Q, D]
    by_rate = each @ likely  # [Q, R]
    wanted = [float((by_rate @ prior).min())]
    for periods in (1, 2):
        seen = poisson.pmf(np.arange(200)[:, None], periods * rates) * prior  # joint with the rate, [S, R]
        wanted.append(float((by_rate @ seen.T).min(axis=0).sum()))
    found = expected_costs(SMALL)
    np.testing.assert_allclose(found["bayes"], wanted, rtol=1e-4)
    np.testing.assert_allclose(found["informed"], float(by_rate.min(axis=0) @ prior), rtol=1e-4)
    np.testing.assert_allclose(found["constant"], wanted[0], rtol=1e-4)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_in_play_rules_cost_what_they_should(exact: Any, mode: str) -> None:
    """Over the same 1,000 worlds each rule costs what was calculated, within four deviations, paired with Bayes."""
    env = get_domain("newsvendor").env({"action_mode": mode}, 1000)
    found = {
        name: play(env, make(), env.tasks[0], seed=7).metrics["period_cost"]
        for name, make in baselines("newsvendor").policies.items()
    }
    coarse = 0.0 if mode == "continuous" else 0.25  # choices are not every order
    for name, costs in found.items():
        difference = costs - found["bayes"]
        error = 4 * difference.std() / 1000**0.5 + coarse
        assert difference.mean() == pytest.approx(exact[name].mean() - exact["bayes"].mean(), abs=error + 1e-9), name
    error = 4 * found["bayes"].std() / 1000**0.5 + coarse
    assert found["bayes"].mean() == pytest.approx(exact["bayes"].mean(), abs=error)


def test_a_rule_needs_its_env() -> None:
    """In another env there is nothing to order."""
    with pytest.raises(ValueError, match=r"^bayes: got a CueEnv, allowed is a NewsvendorEnv"):
        baselines("newsvendor").policies["bayes"]().bind(get_domain("cue").env())
    assert isinstance(get_domain("newsvendor").env(), NewsvendorEnv)
