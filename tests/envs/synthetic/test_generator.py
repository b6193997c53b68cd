"""Synthetic data as tables."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envs.streams import WorldStreams
from envs.synthetic.generator import SyntheticDataGenerator
from envs.synthetic.historical import HistoricalMarket
from envs.synthetic.market import MarketConfig
from envs.synthetic.price_files import load_prices
from envs.synthetic.regimes import MarketRegime


def test_prices_are_a_tidy_table() -> None:
    """One row a symbol and business day, in order, with the regime asked for."""
    table = SyntheticDataGenerator(7).generate_prices(["X", "Y"], 30, "bull", start=date(2021, 3, 1))
    assert list(table.columns) == ["date", "symbol", "open", "high", "low", "close", "volume", "regime"]
    assert list(table["symbol"].unique()) == ["X", "Y"]
    assert (table.groupby("symbol").size() == 30).all()
    assert table["date"].iloc[0] == pd.Timestamp("2021-03-01")
    assert (table["date"].dt.dayofweek < 5).all()
    assert set(table["regime"]) == {"bull"}


def test_the_seed_decides() -> None:
    """The same seed gives the same table, another seed another, and a call's own seed counts first."""
    generator = SyntheticDataGenerator(3)
    one = generator.generate_prices(["X"], 20)
    pd.testing.assert_frame_equal(one, generator.generate_prices(["X"], 20, seed=3))
    assert (one["close"] != generator.generate_prices(["X"], 20, seed=4)["close"]).all()


def test_switching_prices_name_the_regime_of_the_day() -> None:
    """Days of a crisis are wilder than calm days of the same market."""
    table = SyntheticDataGenerator(1).generate_prices(["X"], 4000, MarketRegime.SWITCHING)
    moves = np.log(table["close"]).diff().groupby(table["regime"]).std()
    assert len(moves) == 5
    assert moves["crisis"] > 2 * moves["calm"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_saved_prices_can_be_traded(tmp_path: Path, suffix: str) -> None:
    """What is generated, saved and read back gives worlds with the same prices."""
    table = SyntheticDataGenerator(2).generate_prices(["X", "Y"], 60)
    path = tmp_path / f"prices.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    assert list(load_prices(str(path))) == ["X", "Y"]
    streams = WorldStreams(1)
    market = HistoricalMarket(streams, ["X", "Y"], str(path))
    market.restart(np.zeros(1, np.int64), [MarketConfig(num_assets=2, horizon=60)])
    closes = np.concatenate([market.next().close for _ in range(60)])
    np.testing.assert_allclose(closes.T.ravel(), table["close"], rtol=1e-12)


def test_wrong_arguments_are_named() -> None:
    """No days, an unknown regime, no symbols and a negative seed are refused, by name."""
    generator = SyntheticDataGenerator()
    with pytest.raises(ValueError, match="num_days: got 0"):
        generator.generate_prices(["X"], 0)
    with pytest.raises(ValueError, match="regime: got 'sideways', allowed are calm, bull"):
        generator.generate_prices(["X"], 5, "sideways")
    with pytest.raises(ValueError, match="symbols"):
        generator.generate_prices([], 5)
    with pytest.raises(ValueError, match="seed: got -1"):
        SyntheticDataGenerator(-1)
