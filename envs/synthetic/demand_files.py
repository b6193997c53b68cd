"""Recorded demand: the user's own CSV and Parquet files, and what `make data` fetches, checked before it is played."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from envs.synthetic.tables import RowError, refuse_rows

Floats = NDArray[np.float64]
COLUMNS = ("date", "series", "quantity")
SUFFIXES = (".csv", ".parquet")


def fetched(name: str) -> Path:
    """Where `make data` puts a file: in `ENTREPOT_DATA`, or in `data` in the current folder."""
    return Path(os.environ.get("ENTREPOT_DATA") or "data").absolute() / f"{name}.parquet"


class DemandFileError(RowError):
    """A file of demand is not as it should be as a whole; one line that names file and column."""


@lru_cache(maxsize=16)
def load_demand(path: Path) -> dict[str, Floats]:
    """Recorded demand by series, `[T]` each, all of the same dates.

    A file holds the columns date, series and quantity, in any order, a row for every series and date; dates are evenly
    spaced (days, weeks, months), and go forward. Other columns are ignored.

    Raises:
        RowError: If it cannot be read, or a row is wrong; one line names the file, the row (the first below the
            header is 1), what was found and what is allowed.
    """
    table = _read(path)
    table["series"] = table["series"].astype(str)
    dates = pd.to_datetime(table["date"], errors="coerce")
    refuse_rows(path, table, "date", dates.isna(), "a date such as 2017-03-01")
    table["date"] = dates
    values = pd.to_numeric(table["quantity"], errors="coerce").astype(np.float64)
    largest = np.finfo(np.float64).max
    refuse_rows(
        path, table, "quantity", ~values.between(0, largest), "a number that is 0 or more"
    )  # NaN is not, either
    table["quantity"] = values
    before = table.groupby("series", sort=False)["date"].shift()
    refuse_rows(path, table, "date", table["date"] <= before, "a date after the row before, for each series")
    every = pd.DatetimeIndex(sorted(table["date"].unique()))
    regular = pd.infer_freq(every) if len(every) > 2 else None
    if len(every) > 2 and regular is None:
        steps = every[1:] - every[:-1]
        gap = int(np.argmax(steps > steps.min()))
        raise DemandFileError(
            f"{path}, column date: got {every[gap + 1].date()} after {every[gap].date()}, allowed are dates with no gap"
        )
    wide = table.pivot(index="date", columns="series", values="quantity").reindex(every)
    for name in wide.columns:
        if (missing := wide[name].isna()).any():
            when = wide.index[int(np.argmax(missing.to_numpy()))].date()
            raise DemandFileError(f"{path}, series {name!r}: got nothing on {when}, allowed is a row for every date")
    return {str(name): wide[name].to_numpy(np.float64) for name in wide.columns}


def _read(path: Path) -> pd.DataFrame:
    if path.suffix not in SUFFIXES or not path.is_file():
        hint = "; `make data` fetches it" if path == fetched(path.stem) else ""
        raise DemandFileError(f"{path}: got no such file, allowed is an existing {' or '.join(SUFFIXES)} file{hint}")
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pandas and pyarrow derive their parsing errors from ValueError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DemandFileError(f"{path}: cannot be read as {path.suffix[1:]} ({reason})") from None
    table.columns = [str(column).strip().lower() for column in table.columns]
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise DemandFileError(
            f"{path}: got the columns {', '.join(table.columns)}, without {', '.join(missing)}; allowed are "
            f"{', '.join(COLUMNS)}"
        )
    if table.empty:
        raise DemandFileError(f"{path}: got no rows below the header, allowed is one for each series and date")
    return table[list(COLUMNS)].reset_index(drop=True)
