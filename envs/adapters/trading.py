"""The trading env under the brief's name and with its arguments, as RLlib's `MultiAgentEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.adapters.rllib import BaseMultiAgentEnvironment
from envs.base import AgentConfig
from envs.trading import DOMAIN, MarketRegime, TradingTask
from envs.trading.config import REAL, SYNTHETIC


class TradingEnvironment(BaseMultiAgentEnvironment):
    """Several agents trade several assets in one market.

    Args:
        config: All other arguments as one dictionary, as RLlib passes its `env_config`; they are then ignored.
        agent_configs: The agents; four equal ones named `trader_0` … if None.
        symbols: Names of the assets. Synthetic data take any name, real data only what is in them. If None: AAPL,
            GOOGL, TSLA and MSFT, in real data AAPL, GOOG, IBM and MSFT.
        max_steps: Bars traded before an episode is truncated.
        market_regime: Regime of synthetic prices.
        transaction_cost: Fee [share of the value traded].
        market_impact_factor: Permanent move of the log mid by a net flow of 1% of the average daily volume.
        use_synthetic_data: Synthetic prices; if not, real ones.
        task: Further fields of `TradingTask`, or all of them; these win over the arguments above.
        flat_actions: With `action_mode="discrete"`: whether an agent's branches are one `Discrete` choice.
        settings: Further fields of `TradingConfig`, such as `action_mode` and `max_leverage`.

    Raises:
        pydantic.ValidationError: If a key or value is not allowed.
        ValueError: If real prices lack a symbol, or days enough for an episode.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        agent_configs: Sequence[AgentConfig | Mapping[str, Any]] | None = None,
        symbols: Sequence[str] | None = None,
        max_steps: int = 1000,
        market_regime: MarketRegime | str = MarketRegime.VOLATILE,
        transaction_cost: float = 0.001,
        market_impact_factor: float = 0.0001,
        use_synthetic_data: bool = True,
        task: TradingTask | Mapping[str, Any] | None = None,
        flat_actions: bool = False,
        **settings: Any,
    ) -> None:
        if config is not None:
            TradingEnvironment.__init__(self, **config)
            return
        played = {
            "max_steps": max_steps,
            "market_regime": market_regime,
            "transaction_cost": transaction_cost,
            "market_impact_factor": market_impact_factor,
        }
        if isinstance(task, TradingTask):
            task = task.model_dump()
        fixed: dict[str, Any] = {
            "agent_configs": None if agent_configs is None else tuple(agent_configs),
            "data": SYNTHETIC if use_synthetic_data else REAL,
        }
        if symbols is not None:
            fixed["symbols"] = tuple(symbols)
        env = DOMAIN.env(fixed | settings, 1, task=played | dict(task or {}))
        super().__init__(env, flat_actions=flat_actions)
