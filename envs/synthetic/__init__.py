"""Synthetic and historical data: prices, regimes, and the generator that mixes them."""

from __future__ import annotations

from collections.abc import Sequence

from envs.streams import WorldStreams
from envs.synthetic.bars import PriceSource


def price_source(data: str, streams: WorldStreams, symbols: Sequence[str]) -> PriceSource:
    """Opens the prices that worlds are to play on.

    Args:
        data: `synthetic`; `real`, the daily US stocks that come with `bokeh-sampledata`; or the path of a CSV or
            Parquet file, or of a folder of them.
        streams: The worlds' random streams.
        symbols: Names of the assets. Synthetic prices take any; real ones only what is in them.

    Raises:
        ValueError: If the prices, or a symbol, cannot be had; one line says what is allowed.
    """
    if data == "synthetic":
        from envs.synthetic.market import SyntheticMarket

        return SyntheticMarket(streams, symbols)
    from envs.synthetic.historical import HistoricalMarket

    return HistoricalMarket(streams, symbols, data)
