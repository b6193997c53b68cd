"""Price files: what is read, how it is adjusted, and the one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envs.synthetic.price_files import load_prices


@pytest.fixture
def table() -> pd.DataFrame:
    """Two stocks over five days, correct in every way."""
    dates = pd.bdate_range("2020-01-01", periods=5)
    close = np.array([10.0, 11.0, 10.5, 10.8, 11.2])
    one = pd.DataFrame(
        {"date": dates, "open": close, "high": close + 0.5, "low": close - 0.5, "close": close, "volume": 1000.0}
    )
    return pd.concat([one.assign(symbol="AAA"), one.assign(symbol="BBB")], ignore_index=True)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_of_several_symbols(table: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    """CSV and Parquet give the same tables, one a symbol."""
    path = tmp_path / f"prices.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    prices = load_prices(str(path))
    assert list(prices) == ["AAA", "BBB"]
    np.testing.assert_allclose(prices["BBB"]["close"], table["close"][:5])
    assert list(prices["AAA"].index) == list(table["date"][:5])


def test_a_folder_of_one_file_a_symbol(table: pd.DataFrame, tmp_path: Path) -> None:
    """Without a symbol column the file's name is the symbol, and a folder is all its files."""
    for symbol, rows in table.groupby("symbol"):
        rows.drop(columns="symbol").to_csv(tmp_path / f"{symbol}.csv", index=False)
    assert list(load_prices(str(tmp_path))) == ["AAA", "BBB"]


def test_adjusted_closes_remove_splits(table: pd.DataFrame, tmp_path: Path) -> None:
    """Prices are scaled by adj_close / close and volume inversely: a 2:1 split leaves no jump, and the value traded."""
    rows = table[table["symbol"] == "AAA"].copy()
    factor = np.array([0.5, 0.5, 1.0, 1.0, 1.0])
    rows["adj_close"] = rows["close"]
    for column in ("open", "high", "low", "close"):
        rows[column] /= factor
    rows["volume"] *= factor
    rows.to_csv(tmp_path / "split.csv", index=False)
    prices = load_prices(str(tmp_path / "split.csv"))["AAA"]
    np.testing.assert_allclose(prices["close"], table["close"][:5])
    np.testing.assert_allclose(prices["high"], table["high"][:5])
    np.testing.assert_allclose(prices["volume"], 1000.0)


def test_bundled_stocks_have_no_split_crashes() -> None:
    """The known splits (AAPL 2000-06-21, 2005-02-28; MSFT 2003-02-18) vanish; the real crash of 2000-09-29 stays."""
    prices = load_prices("real")
    assert list(prices) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert len(prices["AAPL"]) == 3270
    assert len(prices["FB"]) == 196
    apple, microsoft = (np.log(prices[symbol]["close"]).diff() for symbol in ("AAPL", "MSFT"))
    assert abs(apple["2000-06-21"]) < 0.15
    assert abs(apple["2005-02-28"]) < 0.15
    assert abs(microsoft["2003-02-18"]) < 0.15
    assert apple["2000-09-29"] < -0.5
    for stock in prices.values():
        assert (stock["low"] <= stock[["open", "close"]].min(axis=1)).all()
        assert (stock["high"] >= stock[["open", "close"]].max(axis=1)).all()


def put(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Replaces one cell."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[row, column] = value  # type: ignore[call-overload]
        return table

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(3, "close", float("nan")), "row 4, column close: got nan, allowed is a number above 0"),
        (put(2, "open", "ten"), "row 3, column open: got ten, allowed is a number above 0"),
        (put(0, "low", 0.0), "row 1, column low: got 0.0, allowed is a number above 0"),
        (put(0, "low", -1.0), "row 1, column low: got -1.0, allowed is a number above 0"),
        (put(4, "high", float("inf")), "row 5, column high: got inf, allowed is a number above 0"),
        (put(1, "volume", -5.0), "row 2, column volume: got -5.0, allowed is a number that is 0 or more"),
        (put(1, "high", 9.0), "row 2, column high: got 9.0, allowed is at least open, close and low"),
        (put(1, "low", 11.3), "row 2, column low: got 11.3, allowed is at most open, close and high"),
        (put(6, "date", "soon"), "row 7, column date: got soon, allowed is a date such as 2013-03-01"),
        (put(2, "date", "2020-01-02"), "row 3, column date: got 2020-01-02, allowed is a date after the row before"),
        (put(7, "date", "2019-01-01"), "row 8, column date: got 2019-01-01, allowed is a date after the row before"),
        (put(5, "symbol", None), "row 6, column symbol: got nan, allowed is the name of a stock"),
        (lambda table: table.drop(columns=["volume", "low"]), "without low, volume; allowed are date, symbol, open"),
        (lambda table: table.iloc[:0], "got no rows below the header"),
    ],
)
def test_a_wrong_row_is_named(
    table: pd.DataFrame, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    """Whatever is wrong, one line names the file, the row, what was found and what is allowed."""
    path = tmp_path / "wrong.csv"
    change(table).to_csv(path, index=False)
    with pytest.raises(ValueError, match="allowed") as caught:
        load_prices(str(path))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["empty.csv", "text.parquet", "missing.csv", "prices.xlsx", "folder"])
def test_what_is_no_price_file_is_named(tmp_path: Path, name: str) -> None:
    """An empty, broken, missing or foreign file, or an empty folder, is one line that names it."""
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "missing.csv":
        path.write_text("" if name == "empty.csv" else "no prices here")
    with pytest.raises(ValueError, match=name) as caught:
        load_prices(str(path))
    assert "\n" not in str(caught.value)


def test_a_symbol_in_two_files_is_named(table: pd.DataFrame, tmp_path: Path) -> None:
    """The same symbol in two files of a folder is refused."""
    table.to_csv(tmp_path / "one.csv", index=False)
    table.to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(ValueError, match=r"two.csv: got symbol 'AAA' a second time"):
        load_prices(str(tmp_path))
