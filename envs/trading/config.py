"""What a trading run fixes (who trades what, in which action mode) and what a task varies (the market, its costs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from envs.base import AgentConfig, AgentRole, EnvConfig, Task
from envs.synthetic.market import MarketConfig
from envs.synthetic.regimes import MarketRegime
from envs.tasks import typed_agents
from envs.trading.indicators import LOOKBACK

SYNTHETIC, REAL = "synthetic", "real"
"""Data that are no path."""
OBJECTIVES = ("profit", "risk", "turnover")
"""What the reward is the weighted sum of."""
REWARD_SCALE = 100.0
"""Rewards are in percent: a bar that adds 1% to equity is worth about 1."""
REAL_SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
"""Real prices that have years in common; of the fifth stock there are some months only."""


class TradingAgent(AgentConfig):
    """One trader: its name, its role and what it starts with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["executor", "hedger"] = Field(
        AgentRole.EXECUTOR.value, description="Role; agents of one role form one group."
    )
    initial_balance: float = Field(100_000.0, gt=0, allow_inf_nan=False, description="Cash at the start [currency].")


class TradingConfig(EnvConfig):
    """Who trades which assets, and by which rules of the house."""

    agent_configs: Annotated[tuple[TradingAgent, ...] | None, BeforeValidator(typed_agents)] = Field(
        None, min_length=1, description="The agents; None makes `num_agents` equal ones named `trader_0`, `trader_1` …"
    )
    num_agents: int = Field(4, ge=1, description="Number of agents where `agent_configs` is not given.")
    symbols: tuple[str, ...] = Field(
        ("AAPL", "GOOGL", "TSLA", "MSFT"),
        min_length=1,
        description="Names of the assets, sized for the largest task; real data have AAPL, GOOG, IBM, MSFT instead.",
    )
    data: str = Field(
        SYNTHETIC,
        min_length=1,
        description="`synthetic`; `real` (daily US stocks, split-adjusted); or the path of a CSV or Parquet file, or "
        "of a folder of them.",
    )
    levels: int = Field(
        5,
        ge=3,
        description="Discrete mode: target levels an asset, evenly from -1 to 1; odd, so that 0 is one of them.",
    )
    max_leverage: float = Field(
        1.0, gt=0, le=10, allow_inf_nan=False, description="Largest gross target exposure [multiple of equity]."
    )
    allow_short: bool = Field(True, description="Whether targets may be negative; if not they are masked and cut at 0.")
    maintenance_margin: float = Field(
        0.25,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Least equity [share of gross exposure]; below it the broker closes everything at the next open.",
    )
    bankruptcy_level: float = Field(
        0.05,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="Equity [share of the initial balance] at or below which an agent is closed out and terminated.",
    )
    lot_size: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Orders are cut to whole lots of so many shares; 0 is fractional."
    )
    warmup: int = Field(
        LOOKBACK, ge=LOOKBACK, description="Bars that pass before an episode's first decision, to fill the indicators."
    )
    allow_leak: bool = Field(
        False, description="Adds the column that tasks with `leak_next_return` need to the observation."
    )

    @model_validator(mode="before")
    @classmethod
    def _symbols_of_the_data(cls, fields: Any) -> Any:
        """Where nobody names the assets, they are such as there are prices of."""
        if isinstance(fields, Mapping) and fields.get("data") == REAL and "symbols" not in fields:
            return {**fields, "symbols": REAL_SYMBOLS}
        return fields

    def located(self) -> dict[str, str]:
        """`data`, if it is the path of what there is."""
        path = Path(self.data).expanduser()
        return {"data": str(path.absolute())} if self.data not in (SYNTHETIC, REAL) and path.exists() else {}

    @model_validator(mode="after")
    def _check(self) -> TradingConfig:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols: got {list(self.symbols)}, allowed are different names")
        ids = [agent.agent_id for agent in self.agents]
        if len(set(ids)) != len(ids):
            twice = sorted({name for name in ids if ids.count(name) > 1})
            raise ValueError(f"agent_configs: got agent_id {', '.join(twice)} more than once, allowed are unique ids")
        if self.levels % 2 == 0:
            raise ValueError(f"levels: got {self.levels}, allowed are odd numbers, so that one level is 0")
        if self.maintenance_margin * self.max_leverage >= 1:
            raise ValueError(
                f"maintenance_margin: got {self.maintenance_margin}, allowed is less than 1 / max_leverage "
                f"= {1 / self.max_leverage:.6g}, or every full position is a margin call"
            )
        return self

    @property
    def agents(self) -> tuple[TradingAgent, ...]:
        """The agents, given or made."""
        if self.agent_configs is not None:
            return self.agent_configs
        return tuple(TradingAgent(agent_id=f"trader_{i}") for i in range(self.num_agents))


class TradingTask(Task):
    """The market an episode plays in, what trading costs there, and what is rewarded."""

    max_steps: int = Field(252, ge=1, description="Bars traded before an episode is truncated; 252 are a year.")
    num_assets: int | None = Field(None, ge=1, description="Assets in play: the first so many symbols; None is all.")
    num_agents: int | None = Field(None, ge=1, description="Agents that take part: the first so many; None is all.")
    market_regime: MarketRegime = Field(
        MarketRegime.SWITCHING, description="Regime of synthetic prices, or `switching` between all."
    )
    drift_scale: float = Field(
        1.0, ge=0, le=20, allow_inf_nan=False, description="Multiplies synthetic drifts; 0 makes prices martingales."
    )
    volatility_scale: float = Field(
        1.0, gt=0, le=5, allow_inf_nan=False, description="Multiplies synthetic volatilities."
    )
    duration_scale: float = Field(
        1.0, ge=0.05, le=100, allow_inf_nan=False, description="Multiplies the mean length of regimes."
    )
    daily_value: float = Field(
        5e7, gt=0, allow_inf_nan=False, description="Typical value of a synthetic asset traded a day [currency]."
    )
    start: date | None = Field(None, description="Real prices: first date that may be played; None is the first.")
    end: date | None = Field(None, description="Real prices: last date that may be played; None is the last.")

    transaction_cost: float = Field(
        0.001, ge=0, lt=0.5, allow_inf_nan=False, description="Fee [share of the value traded at the fill price]."
    )
    half_spread: float = Field(
        0.0005, ge=0, lt=0.05, allow_inf_nan=False, description="Half the bid-ask spread in quiet times [share of mid]."
    )
    spread_volatility: float = Field(
        0.0125,
        gt=0,
        allow_inf_nan=False,
        description="Volatility per bar above which the spread widens, in proportion; 0.0125 is 20% a year.",
    )
    square_root_impact: float = Field(
        0.6, ge=0, le=10, allow_inf_nan=False, description="Y of the instantaneous impact Y sigma sqrt(|Q| / V)."
    )
    market_impact_factor: float = Field(
        1e-4,
        ge=0,
        le=0.02,
        allow_inf_nan=False,
        description="Permanent move of the log mid by a net flow of 1% of the average daily volume.",
    )
    transient_impact_factor: float = Field(
        2e-4, ge=0, le=0.02, allow_inf_nan=False, description="The same for the part of the move that decays."
    )
    impact_half_life: float = Field(
        3.0, gt=0, le=1000, allow_inf_nan=False, description="Half-life of the part that decays [bars]."
    )
    max_participation: float = Field(
        0.1, gt=0, le=1, allow_inf_nan=False, description="Most that all agents together trade [share of bar's volume]."
    )
    borrow_fee: float = Field(
        0.01, ge=0, le=2, allow_inf_nan=False, description="Yearly fee for borrowed shares [share of their value]."
    )
    loan_rate: float = Field(
        0.03, ge=0, le=2, allow_inf_nan=False, description="Yearly interest on negative cash; positive cash earns none."
    )

    profit_weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="Weight of the log return of equity.")
    risk_weight: float = Field(0.5, ge=0, allow_inf_nan=False, description="Weight of the portfolio's variance.")
    turnover_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Weight of the value traded [multiple of equity]."
    )
    leak_next_return: bool = Field(
        False, description="Shows agents the next bar's return from open to close, which a learner must find: a test."
    )

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Weights of profit, risk and turnover in the reward."""
        return {name: REWARD_SCALE * getattr(self, f"{name}_weight") for name in OBJECTIVES}

    @model_validator(mode="after")
    def _check(self) -> TradingTask:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start: got {self.start}, allowed is a date before end, {self.end}")
        # Gatheral's condition in the form that envs/trading/exchange.py proves: what one bar's flow can move for good
        # must be less than what decays within a bar. The cap bounds the flow by 100 * max_participation percent.
        moved = self.market_impact_factor * 100 * self.max_participation
        decayed = 1 - 4.0 ** (-1 / self.impact_half_life)
        if self.transient_impact_factor > 0 and moved >= decayed:
            raise ValueError(
                f"market_impact_factor: got {self.market_impact_factor}, allowed is less than "
                f"{decayed / (100 * self.max_participation):.3g} at this half-life and participation, "
                "or round trips could be farmed"
            )
        return self

    def market(self, num_symbols: int, warmup: int) -> MarketConfig:
        """The market this task plays in.

        Args:
            num_symbols: Symbols there are.
            warmup: Bars that pass before the first decision.
        """
        return MarketConfig(
            num_assets=self.num_assets or num_symbols,
            regime=self.market_regime,
            drift_scale=self.drift_scale,
            volatility_scale=self.volatility_scale,
            duration_scale=self.duration_scale,
            daily_value=self.daily_value,
            start=self.start,
            end=self.end,
            horizon=warmup + self.max_steps + self.leak_next_return,
        )


class Terms:
    """The numbers of each world's task, as arrays.

    Every field of `TERMS` is an attribute, float64 `[B]`; so are `active` (assets in play, bool `[B, N]`), `leaks`
    (worlds that leak, int64 `[L]`) and `limits` (steps in an episode, float64 `[B]`).

    Args:
        num_worlds: Worlds `B`.
        num_assets: Assets `N`.
    """

    NAMES = (
        "transaction_cost",
        "half_spread",
        "spread_volatility",
        "square_root_impact",
        "market_impact_factor",
        "transient_impact_factor",
        "impact_half_life",
        "max_participation",
        "borrow_fee",
        "loan_rate",
        "profit_weight",
        "risk_weight",
        "turnover_weight",
    )

    transaction_cost: NDArray[np.float64]
    half_spread: NDArray[np.float64]
    spread_volatility: NDArray[np.float64]
    square_root_impact: NDArray[np.float64]
    market_impact_factor: NDArray[np.float64]
    transient_impact_factor: NDArray[np.float64]
    impact_half_life: NDArray[np.float64]
    max_participation: NDArray[np.float64]
    borrow_fee: NDArray[np.float64]
    loan_rate: NDArray[np.float64]
    profit_weight: NDArray[np.float64]
    risk_weight: NDArray[np.float64]
    turnover_weight: NDArray[np.float64]

    def __init__(self, num_worlds: int, num_assets: int) -> None:
        for name in self.NAMES:
            setattr(self, name, np.zeros(num_worlds))
        self.limits = np.ones(num_worlds)
        self.active = np.ones((num_worlds, num_assets), np.bool_)
        self._leak = np.zeros(num_worlds, np.bool_)
        self.leaks = np.zeros(0, np.int64)

    def set(self, worlds: Sequence[int] | NDArray[np.int64], tasks: Sequence[TradingTask]) -> None:
        """Takes down the tasks of `worlds`, one each."""
        num_assets = self.active.shape[1]
        for name in self.NAMES:
            getattr(self, name)[worlds] = [getattr(task, name) for task in tasks]
        for world, task in zip(worlds, tasks, strict=True):
            self.active[world] = np.arange(num_assets) < (task.num_assets or num_assets)
            self.limits[world] = task.max_steps
            self._leak[world] = task.leak_next_return
        self.leaks = np.flatnonzero(self._leak)
