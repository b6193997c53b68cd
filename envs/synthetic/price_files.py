"""Reads daily prices: those that come with `bokeh-sampledata`, or the user's own CSV and Parquet files, checked."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from envs.synthetic.tables import refuse_rows

PRICES = ("open", "high", "low", "close")
COLUMNS = ("date", "symbol", *PRICES, "volume")
SUFFIXES = (".csv", ".parquet")
ROUNDING = 1e-6
"""Relative error that `low <= open, close <= high` may show: vendors round adjusted prices."""


def load_prices(data: str) -> dict[str, pd.DataFrame]:
    """Daily prices by symbol.

    A file holds the columns date, open, high, low, close, volume and, if it holds several stocks, symbol; without that
    column the file's name is the symbol. If there is a column adj_close, prices are scaled by `adj_close / close` and
    volume inversely, so that splits do not look like crashes. Other columns are ignored.

    Args:
        data: `real`, or the path of a `.csv` or `.parquet` file, or of a folder of them.

    Returns:
        For each symbol a table of open, high, low, close, volume, indexed by date. Shared: not to be changed.

    Raises:
        ValueError: If a file cannot be read, or a row is wrong; one line names the file, the row (the first below the
            header is 1), what was found and what is allowed.
    """
    if data == "real":
        return _bundled()
    path = Path(data)
    files = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files or not files[0].is_file() or files[0].suffix not in SUFFIXES:
        raise ValueError(
            f"data: got {data!r}, allowed are synthetic, real, an existing .csv or .parquet file, or a folder of them"
        )
    tables: dict[str, pd.DataFrame] = {}
    for file in files:
        for symbol, table in _read(file).items():
            if symbol in tables:
                raise ValueError(f"{file}: got symbol {symbol!r} a second time, allowed is one file for each symbol")
            tables[symbol] = table
    return tables


@lru_cache(maxsize=1)
def _bundled() -> dict[str, pd.DataFrame]:
    """The five US stocks of `bokeh-sampledata`, 2000 to 2013 (public domain)."""
    from bokeh_sampledata import stocks

    table = stocks.data.rename(columns={"ticker": "symbol"})
    return {str(symbol): _adjusted(rows) for symbol, rows in table.groupby("symbol")}


def _read(file: Path) -> dict[str, pd.DataFrame]:
    """One file's tables by symbol, checked and adjusted."""
    try:
        table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{file}: got an empty file, allowed are the columns {', '.join(COLUMNS)}") from None
    except (OSError, ValueError) as error:  # pandas and pyarrow derive their parsing errors from ValueError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{file}: cannot be read as {file.suffix[1:]} ({reason})") from None
    table.columns = [str(column).strip().lower() for column in table.columns]
    if "date" not in table.columns and table.index.name is not None and str(table.index.name).lower() == "date":
        table = table.rename_axis("date").reset_index()
    missing = [column for column in COLUMNS if column not in table.columns and column != "symbol"]
    if missing:
        raise ValueError(
            f"{file}: got the columns {', '.join(table.columns)}, without {', '.join(missing)}; "
            f"allowed are {', '.join(COLUMNS)} (symbol may be missing if the file is named after it)"
        )
    if table.empty:
        raise ValueError(f"{file}: got no rows below the header, allowed is one row a day")
    table = table.reset_index(drop=True)
    if "symbol" not in table.columns:
        table["symbol"] = file.stem
    refuse_rows(file, table, "symbol", table["symbol"].isna(), "the name of a stock")
    dates = pd.to_datetime(table["date"], errors="coerce", format=None if _is_date(table["date"]) else "ISO8601")
    refuse_rows(file, table, "date", dates.isna(), "a date such as 2013-03-01")
    table["date"] = dates.dt.tz_localize(None).dt.normalize()
    numeric = [*PRICES, "volume", *(["adj_close"] if "adj_close" in table.columns else [])]
    for column in numeric:
        values = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
        finite = values.between(-np.finfo(np.float64).max, np.finfo(np.float64).max)  # false for NaN and infinity
        wrong = ~finite | ((values < 0) if column == "volume" else (values <= 0))
        allowed = "a number that is 0 or more" if column == "volume" else "a number above 0"
        refuse_rows(file, table, column, wrong, allowed)
        table[column] = values
    bottom, top = table[["open", "close"]].min(axis=1), table[["open", "close"]].max(axis=1)
    refuse_rows(file, table, "high", table["high"] < top * (1 - ROUNDING), "at least open, close and low")
    refuse_rows(file, table, "low", table["low"] > bottom * (1 + ROUNDING), "at most open, close and high")
    before = table.groupby("symbol", sort=False)["date"].shift()
    refuse_rows(file, table, "date", table["date"] <= before, "a date after the row before, for each symbol")
    return {str(symbol): _adjusted(rows) for symbol, rows in table.groupby("symbol", sort=False)}


def _is_date(column: pd.Series) -> bool:
    """Whether a column already holds dates, as in Parquet."""
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def _adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """One symbol's table, adjusted for splits and dividends where adj_close is known."""
    table = rows.set_index("date")[[*PRICES, "volume"]].astype(np.float64)
    if "adj_close" in rows.columns:
        factor = rows.set_index("date")["adj_close"] / table["close"]
        table[list(PRICES)] = table[list(PRICES)].mul(factor, axis=0)
        table["volume"] /= factor
    table["high"] = table[["open", "high", "close"]].max(axis=1)
    table["low"] = table[["open", "low", "close"]].min(axis=1)
    return table
