"""Figures for Prometheus."""

from __future__ import annotations

import pickle

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.figures import COUNTERS, GAUGES, HISTOGRAMS, SECONDS
from serve.metrics import Metrics, Snapshot, Totals, merged, render


def read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus would make of a page."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics | Snapshot, name: str, **labels: str) -> float:
    snapshot = metrics.snapshot() if isinstance(metrics, Metrics) else metrics
    return read(render([snapshot]))[name, tuple(sorted(labels.items()))]


def test_requests_are_counted_by_what_answered_and_how() -> None:
    """Counts, rows and times are kept apart by model, version, route and status."""
    metrics = Metrics()
    for _ in range(3):
        metrics.observe("trading", "3", "infer", 200, 0.0015, rows=4)
    metrics.observe("trading", "3", "act", 200, 0.004, rows=2)
    metrics.observe("trading", "3", "infer", 400, 0.0001)
    labels = {"model": "trading", "version": "3"}
    assert value(metrics, "entrepot_requests_total", **labels, route="infer", status="200") == 3
    assert value(metrics, "entrepot_requests_total", **labels, route="infer", status="400") == 1
    assert value(metrics, "entrepot_rows_total", **labels) == 14
    assert value(metrics, "entrepot_request_seconds_count", **labels, route="infer") == 4
    assert value(metrics, "entrepot_request_seconds_sum", **labels, route="infer") == pytest.approx(0.0046)
    assert value(metrics, "entrepot_request_seconds_bucket", **labels, route="infer", le="0.001") == 1
    assert value(metrics, "entrepot_request_seconds_bucket", **labels, route="infer", le="0.002") == 4


@pytest.mark.parametrize("bound", SECONDS)
def test_a_bucket_holds_its_upper_bound(bound: float) -> None:
    """Prometheus counts in a bucket what is at most its bound."""
    metrics = Metrics()
    metrics.observe("m", "1", "infer", 200, bound)
    metrics.observe("m", "1", "infer", 200, bound * 1.0001)
    labels = {"model": "m", "version": "1", "route": "infer"}
    assert value(metrics, "entrepot_request_seconds_bucket", **labels, le=str(bound)) == 1
    assert value(metrics, "entrepot_request_seconds_bucket", **labels, le="+Inf") == 2


def test_batches_show_how_much_is_joined() -> None:
    """Rows and requests a call are histograms of their own."""
    metrics = Metrics()
    metrics.observe_batch("m", "1", rows=7, requests=3)
    metrics.observe_batch("m", "1", rows=1, requests=1)
    labels = {"model": "m", "version": "1"}
    assert value(metrics, "entrepot_batch_rows_sum", **labels) == 8
    assert value(metrics, "entrepot_batch_requests_sum", **labels) == 4
    assert value(metrics, "entrepot_batch_rows_bucket", **labels, le="1.0") == 1


def test_the_shadow_is_compared_by_rows() -> None:
    """The mean difference over all rows is a quotient of two counts."""
    metrics = Metrics()
    metrics.observe_shadow("m", "1", "2", rows=1, differing=1, difference=1.0)
    metrics.observe_shadow("m", "1", "2", rows=3, differing=0, difference=0.2)
    labels = {"model": "m", "version": "1", "shadow": "2"}
    total = value(metrics, "entrepot_shadow_difference_total", **labels)
    assert total / value(metrics, "entrepot_shadow_rows_total", **labels) == pytest.approx(0.4)
    assert value(metrics, "entrepot_shadow_differing_rows_total", **labels) == 1


def test_every_figure_is_shown_from_the_start() -> None:
    """An idle service already names all its figures, and counts 0 where a figure has no labels."""
    text = render([Metrics().snapshot()])
    families = {family.name for family in text_string_to_metric_families(text.decode())}
    assert families == {*COUNTERS, *GAUGES, *HISTOGRAMS}
    assert value(Metrics(), "entrepot_access_log_lost_total") == 0


def test_labels_are_escaped() -> None:
    """A name with quotes and line ends is read back as it was."""
    metrics = Metrics()
    metrics.observe('a"\n\\', "1", "infer", 200, 0.1)
    assert value(metrics, "entrepot_requests_total", model='a"\n\\', version="1", route="infer", status="200") == 1


def test_gauges_are_set_and_cleared() -> None:
    """What is served is stated anew with each change."""
    metrics = Metrics()
    metrics.set("entrepot_served", "m", "1", "champion", value=1)
    metrics.set("entrepot_sessions", value=5)
    metrics.clear("entrepot_served")
    metrics.set("entrepot_served", "m", "2", "champion", value=1)
    found = read(render([metrics.snapshot()]))
    served = [dict(labels)["version"] for name, labels in found if name == "entrepot_served"]
    assert served == ["2"]
    assert found["entrepot_sessions", ()] == 5


def test_snapshots_travel_and_add_up() -> None:
    """Counts and loads of replicas are added; what all of them report of the same thing is not."""
    metrics = Metrics()
    metrics.observe("m", "1", "infer", 200, 0.003, rows=2)
    metrics.in_flight = 2
    metrics.set("entrepot_served", "m", "1", "champion", value=1)
    other = pickle.loads(pickle.dumps(metrics.snapshot()))
    both = merged([metrics.snapshot(), other])
    assert value(both, "entrepot_rows_total", model="m", version="1") == 4
    assert value(both, "entrepot_in_flight") == 4
    assert value(both, "entrepot_served", model="m", version="1", reference="champion") == 1
    assert value(both, "entrepot_request_seconds_count", model="m", version="1", route="infer") == 2
    metrics.observe("m", "1", "infer", 200, 0.003)
    assert value(other, "entrepot_requests_total", model="m", version="1", route="infer", status="200") == 1


def test_totals_never_go_back() -> None:
    """What a replica had counted stays when it ends, and even when it is forgotten; its load does not."""
    now = [0.0]
    totals = Totals(fresh_seconds=5.0, most=2, clock=lambda: now[0])
    for replica in range(4):
        metrics = Metrics()
        metrics.count("entrepot_refusals", "overload", by=1)
        metrics.in_flight = 1
        totals.update(f"replica-{replica}", metrics.snapshot())
        metrics.count("entrepot_refusals", "overload", by=1)
        totals.update(f"replica-{replica}", metrics.snapshot())
        assert value(totals.snapshot(), "entrepot_refusals_total", reason="overload") == 2 * (replica + 1)
    totals.update("control", Metrics().snapshot(), replica=False)
    assert value(totals.snapshot(), "entrepot_replicas") == 1
    assert value(totals.snapshot(), "entrepot_in_flight") == 1
    now[0] = 6.0
    assert value(totals.snapshot(), "entrepot_replicas") == 0
    assert value(totals.snapshot(), "entrepot_in_flight") == 0
    assert value(totals.snapshot(), "entrepot_refusals_total", reason="overload") == 8


def test_series_are_bounded() -> None:
    """However many labels come along, memory stays bounded, and nothing goes uncounted."""
    metrics = Metrics()
    for number in range(12_000):
        metrics.observe(f"m{number}", "1", "infer", 200, 0.001)
        metrics.count("entrepot_canary_requests", f"m{number}", "1")
    snapshot = metrics.snapshot()
    for name in ("entrepot_requests", "entrepot_canary_requests"):
        series = {labels: count for (of, labels), count in snapshot.counters.items() if of == name}
        assert len(series) <= 5_001
        assert sum(series.values()) == 12_000
