"""Tests of recorded demand: files, what is wrong with them, and how they are played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envs.supply_chain import NetworkError, SupplyChainEnv, SupplyConfig, SupplyTask, load_network
from envs.synthetic.demand import Customers, Demand
from envs.synthetic.demand_files import DemandFileError, load_demand
from envs.synthetic.groceries import CATEGORIES, series_of
from envs.synthetic.tables import RowError

GOOD = "date,series,quantity\n" + "".join(
    f"2024-01-{day:02d},{name},{day * times}\n" for name, times in (("tea", 1), ("coffee", 2)) for day in range(1, 21)
)


def written(folder: Path, text: str = GOOD) -> Path:
    """A CSV file."""
    file = folder / "demand.csv"
    file.write_text(text)
    return file


def test_both_kinds_of_files_are_read(tmp_path: Path) -> None:
    """CSV and Parquet hold the same."""
    csv = written(tmp_path)
    parquet = tmp_path / "demand.parquet"
    pd.read_csv(csv, parse_dates=["date"]).to_parquet(parquet)
    for file in (csv, parquet):
        found = load_demand(file)
        assert list(found) == ["coffee", "tea"]
        assert found["coffee"].tolist() == [2.0 * day for day in range(1, 21)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2024-01-03,tea,3", "2024-01-03,tea,", "row 3, column quantity: got nan, allowed is a number that is 0"),
        ("2024-01-03,tea,3", "2024-01-03,tea,-1", "row 3, column quantity: got -1, allowed is a number"),
        ("2024-01-03,tea,3", "soon,tea,3", "row 3, column date: got soon, allowed is a date such as 2017-03-01"),
        ("2024-01-03,tea,3", "2024-01-01,tea,3", "row 3, column date: got 2024-01-01, allowed is a date after the row"),
        ("2024-01-03,tea,3\n", "", "series 'tea': got nothing on 2024-01-03, allowed is a row for every date"),
        ("quantity", "units", "got the columns date, series, units, without quantity; allowed are date,"),
        (GOOD[21:], "", "got no rows below the header"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """File, row and column, what was found, and what is allowed, in one line."""
    assert old in GOOD
    file = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(RowError) as caught:
        load_demand(file)
    assert str(caught.value).startswith(f"{file}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gaps_are_refused(tmp_path: Path) -> None:
    """A day that is missing in all series is a gap."""
    rows = [line for line in GOOD.splitlines() if "2024-01-07" not in line]
    file = written(tmp_path, "\n".join(rows) + "\n")
    with pytest.raises(
        DemandFileError, match=r"column date: got 2024-01-08 after 2024-01-06, allowed are dates with no"
    ):
        load_demand(file)


def test_records_are_played_from_one_row_on_and_scaled(tmp_path: Path) -> None:
    """All of a network keep step; a level scales, else quantities are as they were; a part of the record is kept to."""
    file = written(tmp_path)
    tea, coffee = ({"file": file, "series": name} for name in ("tea", "coffee"))
    customers = Customers(
        [Demand.model_validate({"recorded": tea}), Demand.model_validate({"level": 1, "recorded": coffee})]
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = customers.draw(5, [rng], span=(0.5, 1.0))[0]
        assert (np.diff(found[:, 0]) == 1).all()
        assert found[:, 0].min() >= 11
        np.testing.assert_allclose(found[:, 1] * 21, found[:, 0] * 2)
    assert customers.longest() == 20
    assert customers.longest((0.5, 0.75)) == 5


def test_a_users_own_network_plays_her_own_demand(tmp_path: Path) -> None:
    """The path is relative to the network's file; what is not there is named by file and key, and what is too long."""
    written(tmp_path)
    network = tmp_path / "shop.yaml"
    text = (
        "name: shop\nproducts: {tea: {}}\nnodes:\n  shop:\n    role: retailer\n    stock: 20\n    sells:\n"
        "      tea: {demand: {recorded: {file: demand.csv, series: tea}}, price: 3, shortage: 1}\n"
        "lanes: [{name: lane, source: outside, target: shop, products: [tea], lead_time: 1}]\n"
    )
    network.write_text(text)
    env = SupplyChainEnv(SupplyConfig(networks=(str(network),)), 1, task=SupplyTask(max_steps=10))
    env.reset(0)
    assert (np.diff(env.future.demand[0, :10, 0]) == 1).all()
    with pytest.raises(
        ValueError, match=r"^max_steps: got 11, allowed is at most 10, the rows recorded in span \[0.0, 0.5\]"
    ):
        env.admit(SupplyTask(max_steps=11, span=(0.0, 0.5)))
    network.write_text(text.replace("series: tea", "series: milk"))
    with pytest.raises(
        NetworkError, match=r"nodes\.shop\.sells\.tea\.demand: .*series: got 'milk', allowed are coffee, tea"
    ):
        load_network(str(network))


def test_groceries_are_summed_by_day_group_and_category() -> None:
    """Days without sales are zeros; fuel and other categories are left out; stores are dealt out by their sales."""
    milk = CATEGORIES["milk"]
    products = pd.DataFrame({"product_id": [1, 2], "product_category": [milk, "SHOES"]})
    lines = pd.DataFrame(
        [
            (1, 1, 5, "2017-01-01 10:00"), (1, 1, 2, "2017-01-01 12:00"), (2, 1, 4, "2017-01-03 12:00"),
            (1, 2, 9, "2017-01-02 09:00"), (1, 1, 9000, "2017-01-02 09:00"),
        ],
        columns=["store_id", "product_id", "quantity", "transaction_timestamp"],
    )  # fmt: skip
    lines["transaction_timestamp"] = pd.to_datetime(lines["transaction_timestamp"])
    found = series_of(lines, products)
    assert found.groupby("series")["quantity"].apply(list).to_dict() == {
        "stores_0/milk": [7, 0, 0],
        "stores_1/milk": [0, 0, 4],
    }
