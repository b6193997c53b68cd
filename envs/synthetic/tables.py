"""What is wrong with a row of a file, said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


class RowError(ValueError):
    """A row of a file is wrong; one line that names file, row and column."""


def refuse_rows(file: Path, table: pd.DataFrame, column: str, wrong: pd.Series, allowed: str) -> None:
    """Raises RowError for the first wrong row, if there is one; the first below the header is 1.

    Args:
        file: The file.
        table: What it holds.
        column: The column that is looked at.
        wrong: Which rows are wrong.
        allowed: What is allowed.
    """
    rows = np.flatnonzero(wrong.to_numpy())
    if rows.size:
        value = table[column].iloc[rows[0]]
        shown = value.date() if isinstance(value, pd.Timestamp) else value
        raise RowError(f"{file}, row {rows[0] + 1}, column {column}: got {shown}, allowed is {allowed}")
