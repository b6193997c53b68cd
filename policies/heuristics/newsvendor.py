"""Yardsticks of unknown demand: who knows its rate, who learns it as well as can be, and who remembers nothing.

With a Gamma prior of shape `a` and rate `b`, after demand that added up to `S` in `n` periods the rate is Gamma again,
of shape `a + S` and rate `b + n`, and the next demand is negative binomial. As orders change nothing about what is
seen, the quantile of that at the critical ratio is optimal (Scarf 1959, "Bayes solutions of the statistical inventory
problem"; Azoury 1985). `expected_costs` has what each policy costs in each period, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import gamma, nbinom, poisson

from envs.base import Actions, BatchedEnv, Observation
from envs.newsvendor import NewsvendorEnv, NewsvendorTask
from policies.base import Policy, PolicyState
from policies.heuristics import Baselines

Array = NDArray[np.float64]
TAIL = 1e-12
"""Probability of what sums leave out."""
NODES = 4000
"""Points of the integral over rates."""


@dataclass(frozen=True)
class Known:
    """What there is to order by, of any number of sellers: `[…]` each.

    Attributes:
        shape, scale, ratio: The rate's distribution before anything was seen, and the critical ratio.
        seen, periods: Demand so far, added up, and in how many periods.
        last: Demand of the last of them, 0 if there was none.
        rate: The rate, which only the informed policy looks at.
    """

    shape: Array
    scale: Array
    ratio: Array
    seen: Array
    periods: Array
    last: Array
    rate: Array


def constant(known: Known) -> Array:
    """The best order of who learns nothing."""
    return np.asarray(nbinom.ppf(known.ratio, known.shape, 1 / (1 + known.scale)))


def last(known: Known) -> Array:
    """The quantile of what demand can be after the last period's: the best of who remembers no other."""
    return bayes(replace(known, seen=known.last, periods=np.minimum(known.periods, 1)))


def bayes(known: Known) -> Array:
    """The quantile of what demand can be after what was seen: optimal."""
    rate = 1 / known.scale + known.periods
    return np.asarray(nbinom.ppf(known.ratio, known.shape + known.seen, rate / (rate + 1)))


def plug_in(known: Known) -> Array:
    """The quantile of what demand would be if its rate were what is expected of it: certainty equivalence."""
    mean = (known.shape + known.seen) / (1 / known.scale + known.periods)
    return np.asarray(poisson.ppf(known.ratio, mean))


def informed(known: Known) -> Array:
    """The quantile of who knows the rate."""
    return np.asarray(poisson.ppf(known.ratio, known.rate))


class Ordering(Policy):
    """Orders by a rule.

    Args:
        name: Name in tables.
        rule: Orders, of what is known.
    """

    def __init__(self, name: str, rule: Callable[[Known], Array]) -> None:
        self.name, self._rule = name, rule

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env, which has counted what was seen."""
        if not isinstance(env, NewsvendorEnv):
            raise ValueError(f"{self.name}: got a {type(env).__name__}, allowed is a NewsvendorEnv")
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Orders; `deterministic` is ignored."""
        env = self._env
        underage = env.of_tasks("underage")
        known = Known(
            shape=env.of_tasks("shape"),
            scale=env.of_tasks("scale"),
            ratio=underage / (underage + env.of_tasks("overage")),
            seen=env.seen.astype(np.float64),
            periods=env.clock[:, None].astype(np.float64),
            last=env.last.astype(np.float64),
            rate=env.rates,
        )
        orders = np.broadcast_to(self._rule(known), env.seen.shape)
        return {env.GROUP: env.actions_of(orders)}, None


RULES = {"constant": constant, "last": last, "plug_in": plug_in, "bayes": bayes, "informed": informed}


def expected_costs(task: NewsvendorTask) -> dict[str, Array]:
    """What each rule costs a seller in each period, `[T]`, in expectation over rates and demand.

    Sums over what can be seen, of negative binomial probability; of the informed rule an integral over rates, by
    the midpoint rule. Orders may be of any size.
    """
    prior, ratio = 1 / task.scale, task.underage / (task.underage + task.overage)
    most = gamma.ppf(1 - TAIL, task.shape, scale=task.scale)
    rates = (np.arange(NODES) + 0.5) / NODES * most
    weights = most / NODES * gamma.pdf(rates, task.shape, scale=task.scale)

    def known(seen: Array, periods: int, rate: Array) -> Known:
        shape, scale, critical, times = (
            np.full(seen.shape, float(value)) for value in (task.shape, task.scale, ratio, periods)
        )
        return Known(shape, scale, critical, seen, times, seen, rate)

    knowing = known(np.zeros(NODES), 0, rates)
    order = informed(knowing)
    of_rates = _cost(task, order, rates, poisson.cdf(order - 1, rates), poisson.cdf(order - 2, rates))
    costs = {"informed": np.full(task.max_steps, float(weights @ of_rates))}
    for name in ("constant", "plug_in", "bayes"):
        each = []
        for periods in range(task.max_steps):
            seen = (
                np.arange(nbinom.ppf(1 - TAIL, task.shape, prior / (prior + periods)) + 1) if periods else np.zeros(1)
            )
            likely = nbinom.pmf(seen, task.shape, prior / (prior + periods)) if periods else np.ones(1)
            rate, shape = prior + periods, task.shape + seen
            order = RULES[name](known(seen, periods, seen))
            below = (nbinom.cdf(order - 1 - one, shape + one, rate / (rate + 1)) for one in (0, 1))
            each.append(float(likely @ _cost(task, order, shape / rate, *below)))
        costs[name] = np.array(each)
    costs["last"] = costs["bayes"][np.minimum(np.arange(task.max_steps), 1)]  # any period tells as much as the first
    return costs


def _cost(task: NewsvendorTask, order: Array, mean: Array, below: ArrayLike, next_below: ArrayLike) -> Array:
    """Expected cost of orders `[N]` of whole units.

    With `E(q - D)+ = q P(D < q) - E(D; D < q)`, of which the latter is `E D` times the probability that `D' < q - 1`:
    `D'` is Poisson of the same rate where `D` is, and negative binomial with a shape larger by one where that is.

    Args:
        task: What units cost.
        order: Orders `q`.
        mean: What is expected of demand, `E D`.
        below: The first of these probabilities.
        next_below: The second.
    """
    left = order * np.asarray(below) - mean * np.asarray(next_below)
    return np.asarray(task.overage * left + task.underage * (mean - order + left))


BASELINES = Baselines(
    "constant",
    "informed",
    {name: (lambda name=name, rule=rule: Ordering(name, rule)) for name, rule in RULES.items()},  # type: ignore[misc]
    attainable="bayes",
)
