"""The trading env: several agents in one market, several assets, many worlds at once."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from envs.base import Actions, AgentGroup, BatchedEnv, BoolArray, IntArray, Observation, Outcome, Task
from envs.synthetic import price_source
from envs.synthetic.bars import Bars
from envs.trading.accounts import Accounts, sum_assets
from envs.trading.config import OBJECTIVES, Terms, TradingConfig, TradingTask
from envs.trading.exchange import Exchange
from envs.trading.indicators import TechnicalIndicators
from envs.trading.observations import Observer, View, make_layout, state_size
from envs.trading.performance import Performance

Array = NDArray[np.float64]

CORRELATION = 0.3
"""Correlation that the reward's risk term takes every two assets to have: the median of US stocks."""


class TradingEnv(BatchedEnv):
    """Traders in one market.

    One step, from the close of bar `t` to the close of bar `t + 1`:

    1. *Decide* at close `t`. An action is a target weight for each asset: `max_leverage * a / max(1, sum |a|)`.
       Discrete branches are evenly spaced values of `a`; assets out of play, and negative values where shorts are not
       allowed, count as 0. The order is what is missing to `weight * equity / price` at this close. For an account
       under a margin call the broker orders everything closed, whatever the agent says.
    2. *Fill* at open `t + 1`, which has gapped away from the close. All agents' orders meet in one place
       (`envs.trading.exchange`): together they get a capped share of the bar's volume, pro rata, at one price that
       their net flow has moved, plus half the spread; fees come on top.
    3. *Hold* to close `t + 1`; borrowed shares and cash are paid for.
    4. *Mark* at close `t + 1`. An account below its maintenance margin is called; a bankrupt one is closed and
       terminates. Then the transient impact decays by a bar.
    5. *Reward*: the sum of three objectives, profit `log(equity / previous equity)`, risk `-variance` and turnover
       `-turnover`, each times 100 and the task's weight of it. Variance is that of a bar's return on the positions
       held, from realised volatilities and a common correlation of 0.3; turnover is value traded over previous equity.
       Holding cash earns exactly 0.

    An agent's observation, and the privileged global state, are described in `envs.trading.observations`. Episodes
    begin with `warmup` bars in which nobody trades, so that indicators mean something. Under `leak_next_return` the
    next bar is drawn one step ahead, so in those worlds `market.truth` is about the bar after it.

    Args:
        config: What is fixed for the run.
        num_worlds: Number of worlds `B`.
        task: The task all worlds begin with.
        first_world: Number of the first world.

    Attributes:
        config: As given.
        market: The prices; oracles may read `market.truth`.
        terms: Every number of the worlds' tasks, `[B]` each.
        accounts: Of all agents, group after group on the axis `A`.
        exchange: Where orders meet.
        indicators: Of the traded prices.
    """

    def __init__(
        self, config: TradingConfig, num_worlds: int, *, task: TradingTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        assets = len(config.symbols)
        layout = make_layout(config)
        space: Box | MultiDiscrete = (
            Box(-1, 1, (assets,), np.float32)
            if config.action_mode == "continuous"
            else MultiDiscrete([config.levels] * assets)
        )
        agents = config.agents
        roles = list(dict.fromkeys(agent.role for agent in agents))
        groups: list[AgentGroup] = []
        initial: list[float] = []
        order: list[int] = []
        self._slices: dict[str, slice] = {}
        for role in roles:
            members = [(i, agent) for i, agent in enumerate(agents) if agent.role == role]
            groups.append(AgentGroup(role, tuple(agent.agent_id for _, agent in members), space, layout))
            self._slices[role] = slice(len(initial), len(initial) + len(members))
            initial += [agent.initial_balance for _, agent in members]
            order += [i for i, _ in members]
        self._order = np.array(order)  # where each agent stands in the config
        super().__init__(
            num_worlds,
            groups,
            state_size=state_size(layout),
            task=task or TradingTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            objectives=OBJECTIVES,
        )
        self.market = price_source(config.data, self.streams, config.symbols)
        self.admit(self._next_tasks[0])
        self.terms = Terms(num_worlds, assets)
        self.exchange = Exchange(num_worlds, assets, len(agents), config.lot_size)
        self.accounts = Accounts(
            num_worlds, assets, np.array(initial), config.maintenance_margin, config.bankruptcy_level
        )
        self.performance = Performance(num_worlds, self.accounts.initial)
        self.indicators = TechnicalIndicators(num_worlds, assets)
        self._observer = Observer(config, num_worlds, self._slices)
        self._ahead = np.ones((5, num_worlds, assets))  # open, high, low, close, volume of the next bar, where leaked
        self._leaked = np.zeros((num_worlds, assets))
        self._ratio = np.ones((assets, num_worlds))
        self._targets = np.zeros((assets, num_worlds, len(agents)))
        self._product = np.zeros_like(self._targets)
        self._masks = {g.name: np.ones((num_worlds, g.size, g.mask_size), np.bool_) for g in groups}

    # -- what oracles and baselines may read -----------------------------------------------------------------------

    @property
    def prices(self) -> Array:
        """Close of the last bar, agents' impact included, `[B, N]`."""
        return self.indicators.close

    @property
    def positions(self) -> dict[str, Array]:
        """Shares held, by group, `[B, A, N]`."""
        shares = self.accounts.shares.transpose(1, 2, 0)
        return {name: shares[:, part] for name, part in self._slices.items()}

    @property
    def equity(self) -> dict[str, Array]:
        """Equity at the last close, by group, `[B, A]`."""
        return {name: self.accounts.equity[:, part] for name, part in self._slices.items()}

    # -- the contract ----------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        """Raises ValueError if there are too few symbols, agents or prices for the task."""
        assert isinstance(task, TradingTask)
        symbols, agents = self.config.symbols, self.config.agents
        if task.num_assets is not None and task.num_assets > len(symbols):
            raise ValueError(
                f"num_assets: got {task.num_assets}, allowed is at most {len(symbols)}, as many as symbols"
            )
        if task.num_agents is not None and task.num_agents > len(agents):
            raise ValueError(f"num_agents: got {task.num_agents}, allowed is at most {len(agents)}, as many as agents")
        if task.leak_next_return and not self.config.allow_leak:
            raise ValueError("leak_next_return: got True, allowed is False unless the config has allow_leak")
        self.market.check(task.market(len(symbols), self.config.warmup))

    def _begin(self, worlds: IntArray) -> None:
        tasks = [cast(TradingTask, self.tasks[world]) for world in worlds]
        self.terms.set(worlds, tasks)
        self.market.restart(worlds, [task.market(len(self.config.symbols), self.config.warmup) for task in tasks])
        past = self.market.history(worlds, self.config.warmup)
        self.indicators.begin(worlds, past.high, past.low, past.close, past.volume)
        self.exchange.open(worlds, self.market.adv[worlds], self.terms)
        self.accounts.open(worlds)
        self.performance.open(worlds)
        self._ratio[:, worlds] = 1.0
        for world, task in zip(worlds, tasks, strict=True):
            present = self._order < (task.num_agents or len(self._order))
            for name, part in self._slices.items():
                self.alive[name][world] = present[part]
        self._mask(worlds)
        self._look_ahead(np.intersect1d(worlds, self.terms.leaks))

    def _mask(self, worlds: IntArray) -> None:
        """Allows what the tasks of `worlds` allow."""
        active = self.terms.active[worlds]
        if self.config.action_mode == "discrete":
            level = np.arange(self.config.levels) - self.config.levels // 2
            allowed = active[:, :, None] & (self.config.allow_short | (level >= 0)) | (level == 0)
            active = allowed.reshape(len(worlds), -1)
        for mask in self._masks.values():
            mask[worlds] = active[:, None, :]

    def _look_ahead(self, worlds: IntArray) -> None:
        """Draws the next bar of worlds that leak it."""
        if worlds.size:
            bars = self.market.next(worlds)
            self._ahead[:, worlds] = bars.open, bars.high, bars.low, bars.close, bars.volume

    def _next_bars(self) -> Bars:
        """The next bar of every world."""
        leaks = self.terms.leaks
        if not leaks.size:
            return self.market.next()
        bars = Bars(*self._ahead.copy())
        others = np.setdiff1d(np.arange(self.num_worlds), leaks)
        if others.size:
            drawn = self.market.next(others)
            for name in ("open", "high", "low", "close", "volume"):
                getattr(bars, name)[others] = getattr(drawn, name)
        self._look_ahead(leaks)
        return bars

    def _orders(self, actions: Actions, alive: BoolArray) -> Array:
        """Shares that are missing to the targets, `[N, B, A]`."""
        targets, accounts = self._targets, self.accounts
        for name, part in self._slices.items():
            targets[:, :, part] = actions[name].transpose(2, 0, 1)
        if self.config.action_mode == "discrete":
            targets *= 2.0 / (self.config.levels - 1)
            targets -= 1.0
        if not self.terms.active.all():
            targets *= self.terms.active.T[:, :, None]
        if not self.config.allow_short:
            np.maximum(targets, 0.0, out=targets)
        size = sum_assets(np.abs(targets, out=self._product), np.empty_like(accounts.equity))
        np.maximum(size, 1.0, out=size)
        budget = accounts.equity * (alive & ~accounts.called)
        budget *= self.config.max_leverage
        budget /= size
        targets *= budget
        targets *= (1.0 / self.prices.T)[:, :, None]
        targets -= accounts.shares
        return targets

    def _advance(self, actions: Actions) -> Outcome:
        accounts, terms, exchange = self.accounts, self.terms, self.exchange
        alive = self._living()
        before = np.maximum(accounts.equity, accounts.floor)  # of those alive, equity itself
        volatility = self.indicators.volatility
        orders = self._orders(actions, alive)

        bars = self._next_bars()
        fills = exchange.fill(orders, bars.open.T, bars.volume.T, volatility.T, self.market.adv.T, terms)
        self._ratio = fills.ratio
        accounts.settle(fills, terms)
        moved = np.exp(exchange.displacement).T
        close = bars.close * moved
        self.indicators.update(bars.high * moved, bars.low * moved, close, bars.volume)
        accounts.mark(close.T, alive, terms)
        risk = self._variance(volatility)
        bankrupt = accounts.supervise(alive, exchange.quote(volatility.T, terms), terms)
        exchange.rest()

        growth = np.log(np.maximum(accounts.equity, accounts.floor) / before)
        turnover = accounts.traded / before
        self.performance.record(accounts, alive, growth, turnover)
        risk /= before * before
        earned = np.stack([growth, -risk, -turnover], axis=2)
        return Outcome(
            {},
            {name: np.ascontiguousarray(bankrupt[:, part]) for name, part in self._slices.items()},
            objectives={name: earned[:, part] for name, part in self._slices.items()},
        )

    def _living(self) -> BoolArray:
        """Who is alive, of all agents, bool `[B, A]`."""
        return np.concatenate([self.alive[name] for name in self._slices], axis=1)

    def _variance(self, volatility: Array) -> Array:
        """Variance of a bar's return on what is held [currency squared], `[B, A]`.

        The constant-correlation model (Elton & Gruber 1973), in linear time: with exposures `x = value * volatility`,
        `rho (sum x)^2 + (1 - rho) sum x^2`.
        """
        shape = self.accounts.equity.shape
        exposures = np.multiply(self.accounts.values, volatility.T[:, :, None], out=self._product)
        together = sum_assets(exposures, np.empty(shape))
        together *= together
        together *= CORRELATION
        exposures *= exposures
        apart = sum_assets(exposures, np.empty(shape))
        apart *= 1.0 - CORRELATION
        together += apart
        return together

    def _observe(self) -> Observation:
        volatility = self.indicators.volatility
        self._leaked[...] = 0.0
        if (leaks := self.terms.leaks).size:
            self._leaked[leaks] = np.log(self._ahead[3, leaks] / self._ahead[0, leaks])
        view = View(
            indicators=self.indicators,
            accounts=self.accounts,
            performance=self.performance,
            exchange=self.exchange,
            terms=self.terms,
            volatility=volatility,
            quoted=self.exchange.quote(volatility.T, self.terms),
            ratio=self._ratio,
            leaked=self._leaked,
            truth=self.market.truth,
            clock=self.clock,
            alive=self._living(),
        )
        observations, state = self._observer.write(view)
        return Observation(dict(observations), dict(self._masks), {}, state)

    def _metrics(self, worlds: IntArray) -> dict[str, Array]:
        present = np.concatenate([self._ledger.present[name][worlds] for name in self._slices], axis=1)
        alive = self._living()[worlds]
        metrics = self.performance.metrics(worlds, present, self.accounts.equity[worlds])
        metrics["bankrupt"] = (present & ~alive).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        return metrics

    _PARTS = ("market", "exchange", "accounts", "performance", "indicators")

    def _get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: getattr(self, name).get_state() for name in self._PARTS}
        return {**state, "ahead": self._ahead.copy(), "ratio": self._ratio.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        for name in self._PARTS:
            getattr(self, name).set_state(state[name])
        self._ahead[...] = state["ahead"]
        self._ratio[...] = state["ratio"]
        worlds = np.arange(self.num_worlds)
        self.terms.set(worlds, [cast(TradingTask, task) for task in self.tasks])
        self._mask(worlds)
