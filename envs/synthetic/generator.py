"""Synthetic data as tables, for people: the same simulator that environments train on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from envs.streams import WorldStreams
from envs.synthetic.market import MarketConfig, SyntheticMarket
from envs.synthetic.regimes import REGIMES, MarketRegime


class SyntheticDataGenerator:
    """Makes tables of synthetic data.

    Args:
        seed: Seed used where a call gives none.
    """

    def __init__(self, seed: int = 0) -> None:
        if seed < 0:
            raise ValueError(f"seed: got {seed}, allowed is 0 or more")
        self.seed = seed

    def generate_prices(
        self,
        symbols: Sequence[str],
        num_days: int,
        regime: MarketRegime | str = MarketRegime.SWITCHING,
        *,
        seed: int | None = None,
        start: date = date(2020, 1, 1),
        drift_scale: float = 1.0,
        volatility_scale: float = 1.0,
    ) -> pd.DataFrame:
        """Daily prices of one market.

        Args:
            symbols: Names of the stocks; any will do.
            num_days: Trading days.
            regime: Regime held throughout, or `switching`.
            seed: Seed of the market; the generator's own if None.
            start: First day; weekends are left out.
            drift_scale: Multiplies all drifts.
            volatility_scale: Multiplies all volatilities.

        Returns:
            One row a symbol and day, ordered by symbol, then date: date, symbol, open, high, low, close, volume, and
            the regime that drove the day. Saved as CSV or Parquet, it is what `data: PATH` reads.

        Raises:
            ValueError: If an argument is not allowed.
        """
        if num_days < 1:
            raise ValueError(f"num_days: got {num_days}, allowed is 1 or more")
        if regime not in list(MarketRegime):
            raise ValueError(f"regime: got {str(regime)!r}, allowed are {', '.join(MarketRegime)}")
        config = MarketConfig(
            num_assets=max(len(symbols), 1),
            regime=MarketRegime(regime),
            drift_scale=drift_scale,
            volatility_scale=volatility_scale,
        )
        streams = WorldStreams(1)
        streams.seed = self.seed if seed is None else seed
        market = SyntheticMarket(streams, symbols)
        world = np.zeros(1, np.int64)
        streams.restart(world, world)
        market.restart(world, [config])
        bars = np.empty((5, num_days, len(symbols)))
        regimes = []
        for day in range(num_days):
            regimes.append(str(REGIMES[int(market.truth.regime[0])]))
            bar = market.next()
            for kind, array in enumerate((bar.open, bar.high, bar.low, bar.close, bar.volume)):
                bars[kind, day] = array[0]
        flat = bars.transpose(0, 2, 1).reshape(5, -1)
        return pd.DataFrame(
            {
                "date": np.tile(pd.bdate_range(start, periods=num_days).to_numpy(), len(symbols)),
                "symbol": np.repeat(list(symbols), num_days),
                **dict(zip(("open", "high", "low", "close"), flat, strict=False)),
                "volume": np.ceil(flat[4]),
                "regime": np.tile(regimes, len(symbols)),
            }
        )
