"""Yardsticks for trading: doing nothing, the classics, a momentum rule, and an oracle that knows the market's truth.

All think in *shares of the leverage limit*, as continuous actions do: `a` in [-1, 1] an asset, at most 1 in sum of
absolute values. Discrete actions are the levels that come closest to it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import numpy as np
from numpy.typing import NDArray

from envs.base import Actions, AgentGroup, BatchedEnv, Observation
from envs.synthetic.historical import HINDSIGHT
from envs.synthetic.regimes import regime_column
from envs.trading import TradingEnv, TradingTask
from envs.trading.env import CORRELATION
from policies.base import Policy, PolicyState, RandomPolicy
from policies.heuristics import Baselines
from policies.heuristics.mean_variance import FactorCovariance, best_portfolio

Array = NDArray[np.float64]


class TargetPolicy(Policy):
    """Names a target for every asset and leaves the encoding to this class."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env, for its groups and its rules."""
        assert isinstance(env, TradingEnv)
        self._env = env

    @abstractmethod
    def targets(self, observation: Observation, group: AgentGroup) -> Array:
        """Chooses targets `a` of one group, `[B, A, N]`, at most 1 in sum of absolute values."""

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Encodes the targets of all groups; there is no randomness."""
        actions = {}
        for name, group in self._env.groups.items():
            exists = group.layout.mask_of(observation.observations[name])
            targets = self.targets(observation, group) * exists
            if not self._env.config.allow_short:
                targets = np.maximum(targets, 0.0)
            actions[name] = nearest_levels(targets, self._env.config.levels) if group.discrete else _clipped(targets)
        return actions, None

    @property
    def budget(self) -> float:
        """Target sum that invests all equity and borrows nothing."""
        return min(1.0, 1.0 / self._env.config.max_leverage)


def _clipped(targets: Array) -> NDArray[np.float32]:
    """Targets as continuous actions: in sum of absolute values at most 1 after rounding to float32 too."""
    total = np.abs(targets).sum(axis=2, keepdims=True)
    scaled = targets / np.maximum(total, 1.0)
    return np.clip(scaled, -1.0, 1.0).astype(np.float32)


def nearest_levels(targets: Array, levels: int) -> NDArray[np.int64]:
    """The discrete actions whose effect comes closest to targets `[..., N]`.

    The env scales levels that sum to more than 1 down to 1, so proportions matter, not sizes alone: 1, 1, 1, 1 is a
    quarter each. Targets are tried at several scales, and the one whose effect is nearest is taken.

    Args:
        targets: At most 1 in sum of absolute values.
        levels: Number of levels from -1 to 1, odd.

    Returns:
        Indices of levels, `[..., N]`.
    """
    half = levels // 2
    largest = np.maximum(np.abs(targets).max(axis=-1, keepdims=True), 1e-12)
    scales = [np.ones_like(largest), *(level / (half * largest) for level in range(1, half + 1))]
    candidates = np.stack([np.rint(np.clip(targets * scale, -1.0, 1.0) * half) for scale in scales])
    values = candidates / half
    effects = values / np.maximum(np.abs(values).sum(axis=-1, keepdims=True), 1.0)
    errors = ((effects - targets) ** 2).sum(axis=-1)
    best = np.take_along_axis(candidates, errors.argmin(axis=0)[None, ..., None], axis=0)[0]
    return (best + half).astype(np.int64)


class Cash(TargetPolicy):
    """Never trades. Its reward is exactly 0."""

    name = "cash"

    def targets(self, observation: Observation, group: AgentGroup) -> Array:
        """Nothing of anything."""
        return np.zeros(group.layout.mask_of(observation.observations[group.name]).shape)


class EqualWeight(TargetPolicy):
    """The same share of equity in every asset, restored at every bar: 1/N, as in DeMiguel et al. (2009)."""

    name = "equal_weight"

    def targets(self, observation: Observation, group: AgentGroup) -> Array:
        """An equal share of everything that exists."""
        exists = group.layout.mask_of(observation.observations[group.name]).astype(np.float64)
        return np.asarray(self.budget * exists / np.maximum(exists.sum(axis=2, keepdims=True), 1.0))


class BuyAndHold(EqualWeight):
    """Buys equal weights at the first bar and then holds the shares.

    Some cash is kept back for fees and for the gap until the fill, or debts would have to be sold off. With discrete
    actions a weight that has drifted can only be held roughly.
    """

    name = "buy_and_hold"
    reserve = 0.05

    def targets(self, observation: Observation, group: AgentGroup) -> Array:
        """Equal weights at first, and until an order that was cut has filled; from then on what is held already."""
        seen, layout = observation.observations[group.name], group.layout
        first = seen[:, :, layout.own.index("time_left"), None] == 1.0
        buying = first | (layout.feature_of(seen, "unfilled") > 0)
        bought = (1.0 - self.reserve) * super().targets(observation, group)
        return np.where(buying, bought, layout.feature_of(seen, "weight").astype(np.float64))


class Momentum(TargetPolicy):
    """Follows trends that are strong for their volatility; sees only what a learner sees.

    Time-series momentum (Moskowitz, Ooi & Pedersen 2012): long what rose and short what fell, sized by the strength of
    the trend and inversely to volatility, changed only when the change is large enough to be worth its cost.

    Attributes:
        strength: Trend, in standard deviations of its own, at which an asset gets its full share.
        band: Change of a target below which an asset is not traded [multiple of an equal share].
        recent: Weight of the trend over 20 bars beside that over 60.
    """

    name = "momentum"
    strength = 1.0
    band = 0.8
    recent = 0.3

    def targets(self, observation: Observation, group: AgentGroup) -> Array:
        """Signals from the momentum over 20 and 60 bars."""
        seen, layout = observation.observations[group.name], group.layout
        exists = layout.mask_of(seen)
        trend = self.recent * layout.feature_of(seen, "momentum_20")
        trend += (1.0 - self.recent) * layout.feature_of(seen, "momentum_60")
        calm = np.exp(-layout.feature_of(seen, "volatility").astype(np.float64)) * exists
        share = calm / np.maximum(calm.sum(axis=2, keepdims=True), 1e-12)
        wanted = self.budget * np.clip(trend / self.strength, -2.0, 2.0) * share
        if not self._env.config.allow_short:
            wanted = np.maximum(wanted, 0.0)
        wanted = self._affordable(wanted)
        held = layout.feature_of(seen, "weight")
        band = self.band * self.budget / np.maximum(exists.sum(axis=2, keepdims=True), 1.0)
        return self._affordable(np.where(np.abs(wanted - held) > band, wanted, held))

    def _affordable(self, targets: Array) -> Array:
        """Targets scaled down to the budget where they exceed it."""
        return np.asarray(targets / np.maximum(np.abs(targets).sum(axis=2, keepdims=True) / self.budget, 1.0))


class RegimeOracle(TargetPolicy):
    """Knows the market's true drift, volatility and correlation of the next bar, and trades on nothing else.

    It holds the portfolio that maximises the expected reward of a bar, risk weight included, within the leverage limit
    (log utility, to second order: a Kelly investor), and moves to it when what that earns more, until the truth is
    likely to change or the episode ends, exceeds fees, spread and the impact of everyone's doing the same. It knows
    nothing of the noise: no policy without foresight should do much better. On real prices the truth is hindsight.
    """

    name = "oracle"

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Solves for the portfolio once a world, then lets every agent decide whether to move."""
        self._solve()
        return super().act(observation, state, deterministic=deterministic, rng=rng)

    def _solve(self) -> None:
        """Sets the best portfolio of each world [multiples of equity], `[B, 1, N]`, and what it is judged by."""
        env, terms, truth = self._env, self._env.terms, self._env.market.truth
        profit = np.maximum(terms.profit_weight, 1e-9)[:, None]
        seen = env.indicators.volatility * terms.active
        penalty = 2.0 * terms.risk_weight[:, None] / profit
        loading = truth.beta * truth.factor_volatility[:, None]
        own = np.maximum(truth.volatility**2 - loading**2, 0.0) + penalty * (1 - CORRELATION) * seen**2
        common = np.sqrt(penalty * CORRELATION) * seen
        self._drift = truth.drift[:, None]
        self._covariance = FactorCovariance((loading[:, None], common[:, None]), own[:, None])
        self._short_fee = terms.borrow_fee[:, None, None] / 252
        self._best = best_portfolio(
            self._drift,
            self._covariance,
            env.config.max_leverage,
            short_fee=self._short_fee,
            allow_short=env.config.allow_short,
        )
        self._spread = terms.transaction_cost[:, None] + env.exchange.quote(env.indicators.volatility.T, terms).T
        self._spread += terms.turnover_weight[:, None] / profit
        self._impact = terms.square_root_impact[:, None] * env.indicators.volatility
        left = terms.limits - env.clock
        self._horizon = np.minimum(self._expected_stay(truth.regime), left)[:, None]
        self._wealth = sum(equity.sum(axis=1) for equity in env.equity.values())

    def _expected_stay(self, regime: NDArray[np.int64]) -> Array:
        """Bars for which the truth is likely to stay as it is, `[B]`."""
        if self._env.config.data != "synthetic":
            return np.full(len(regime), HINDSIGHT / 2)
        scales = np.array([cast(TradingTask, task).duration_scale for task in self._env.tasks])
        return np.asarray(0.5 * regime_column("duration")[regime] * scales)

    def _utility(self, weights: Array) -> Array:
        """Expected reward of a bar (without its scale) of weights `[B, ?, N]`, `[B, ?]`."""
        income = self._drift * weights - self._short_fee * np.maximum(-weights, 0.0)
        return np.asarray(income.sum(axis=2) - 0.5 * self._covariance.variance(weights))

    def targets(self, observation: Observation, group: AgentGroup) -> Array:
        """The best portfolio where moving to it pays, else what is held."""
        env = self._env
        equity = np.maximum(env.equity[group.name], 1e-9)[:, :, None]
        held = env.positions[group.name] * env.prices[:, None] / equity
        change = np.abs(self._best - held)
        # All agents share what they know, so the market takes their orders together.
        flow = np.asarray(self._wealth)[:, None, None] * change / (env.prices * env.market.adv)[:, None]
        cost = (change * (self._spread[:, None] + self._impact[:, None] * np.sqrt(flow))).sum(axis=2)
        gain = (self._utility(self._best) - self._utility(held)) * self._horizon
        moves = (gain > cost)[:, :, None]
        return np.asarray(np.where(moves, self._best, held) / env.config.max_leverage)


BASELINES = Baselines(
    Cash.name,
    RegimeOracle.name,
    {policy.name: policy for policy in (Cash, RandomPolicy, BuyAndHold, EqualWeight, Momentum, RegimeOracle)},
)
