"""Several agents trade several assets in one market, on synthetic or real prices."""

from envs.registry import Domain
from envs.synthetic.regimes import MarketRegime
from envs.trading.config import TradingConfig, TradingTask
from envs.trading.env import TradingEnv

__all__ = ["DOMAIN", "MarketRegime", "TradingConfig", "TradingEnv", "TradingTask"]

DOMAIN = Domain(
    "trading",
    "A team of agents trades several assets in one market, with costs, impact, margin and regimes.",
    TradingConfig,
    TradingTask,
    TradingEnv,
    baselines="policies.heuristics.trading:BASELINES",
)
