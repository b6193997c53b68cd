"""Figures of the service for Prometheus: counted in each replica, added up over all of them, shown by any.

Counting happens with every request, so it is a dictionary and an addition; labels are made when a snapshot is taken,
once a second. A replica that ends takes nothing away: `Totals` keeps what it had counted.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from serve.figures import COUNTERS, GAUGES, HISTOGRAMS, LARGEST, ROWS, SECONDS

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Content type of what `render` gives."""

_MOST_SERIES = 5_000
"""Combinations of labels of a figure; more are counted under the model `other`, so that memory stays bounded."""

Key = tuple[str, tuple[str, ...]]
"""Name of a figure and the values of its labels."""


@dataclass(frozen=True)
class Snapshot:
    """What has been counted up to a moment: plain values, which travel between processes.

    Attributes:
        counters: Counts by figure and labels.
        gauges: Present values by figure and labels.
        histograms: Counts a bucket (one more than there are bounds), then the sum, by figure and labels.
    """

    counters: dict[Key, float] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, tuple[float, ...]] = field(default_factory=dict)

    def lasting(self) -> Snapshot:
        """What stays true when the process has ended: everything but the gauges."""
        return Snapshot(self.counters, {}, self.histograms)


class Metrics:
    """What one process counts, on the thread of its event loop.

    Attributes:
        in_flight: Requests being worked on; whoever works on them keeps it.
        queued: Requests waiting for their turn.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.queued = 0
        self._requests: dict[tuple[str, str, str, int], _Requests] = {}
        self._batches: dict[tuple[str, str], _Batches] = {}
        self._counters: dict[Key, float] = defaultdict(float)
        self._gauges: dict[Key, float] = {}

    def observe(self, model: str, version: str, route: str, status: int, seconds: float, rows: int = 0) -> None:
        """Counts a request that has been answered.

        Args:
            model: Name of a model that there is, or "".
            version: Number of a version that there is, or "".
            route: `infer`, `act`, or another short name of what was asked.
            status: Status of the response.
            seconds: How long it took [s].
            rows: Rows of observations answered.
        """
        key = (model, version, route, status)
        found = self._requests.get(key)
        if found is None:
            found = self._new_requests(key)
        found.seconds += seconds
        found.rows += rows
        found.buckets[bisect_left(SECONDS, seconds)] += 1

    def observe_batch(self, model: str, version: str, rows: int, requests: int) -> None:
        """Counts one call of the runtime.

        Args:
            model: Name of the model.
            version: Number of the version.
            rows: Rows in the call.
            requests: Requests that shared it.
        """
        found = self._batches.get((model, version))
        if found is None:
            found = self._batches.setdefault((model, version), _Batches())
        found.rows += rows
        found.row_buckets[bisect_left(ROWS, rows)] += 1
        found.requests += requests
        found.request_buckets[bisect_left(ROWS, requests)] += 1

    def observe_shadow(
        self, model: str, version: str, shadow: str, rows: int, differing: int, difference: float
    ) -> None:
        """Counts a request that was also put to the shadow.

        Args:
            model: Name of the model.
            version: Number of the version that answered.
            shadow: Number of the version asked besides.
            rows: Rows of the request.
            differing: Rows in which the actions differ.
            difference: Mean absolute difference of the actions, over rows and dimensions.
        """
        labels = (model, version, shadow)
        self.count("entrepot_shadow_requests", *labels)
        self.count("entrepot_shadow_rows", *labels, by=rows)
        self.count("entrepot_shadow_differing_rows", *labels, by=differing)
        self.count("entrepot_shadow_difference", *labels, by=difference * rows)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Counts anything in `COUNTERS`.

        Args:
            name: Name of the figure.
            labels: Values of its labels, in their order.
            by: How much is added.
        """
        if (name, labels) not in self._counters and len(self._counters) >= _MOST_SERIES:
            labels = ("other",) * len(labels)
        self._counters[name, labels] += by

    def set(self, name: str, *labels: str, value: float) -> None:
        """Sets anything in `GAUGES`.

        Args:
            name: Name of the figure.
            labels: Values of its labels, in their order.
            value: What it is now.
        """
        self._gauges[name, labels] = value

    def clear(self, name: str) -> None:
        """Forgets all values of a gauge, before they are set anew."""
        for key in [key for key in self._gauges if key[0] == name]:
            del self._gauges[key]

    def snapshot(self) -> Snapshot:
        """What has been counted so far."""
        counters = dict(self._counters)
        histograms: dict[Key, tuple[float, ...]] = {}
        for (model, version, route, status), found in self._requests.items():
            counters["entrepot_requests", (model, version, route, str(status))] = float(sum(found.buckets))
            if found.rows:
                key = ("entrepot_rows", (model, version))
                counters[key] = counters.get(key, 0.0) + found.rows
            of_seconds = ("entrepot_request_seconds", (model, version, route))
            _add(histograms, of_seconds, (*found.buckets, found.seconds))
        for labels, batches in self._batches.items():
            histograms["entrepot_batch_rows", labels] = (*batches.row_buckets, float(batches.rows))
            histograms["entrepot_batch_requests", labels] = (*batches.request_buckets, float(batches.requests))
        gauges = self._gauges | {
            ("entrepot_in_flight", ()): float(self.in_flight),
            ("entrepot_queued", ()): float(self.queued),
        }
        return Snapshot(counters, gauges, histograms)

    def _new_requests(self, key: tuple[str, str, str, int]) -> _Requests:
        if len(self._requests) >= _MOST_SERIES:
            key = ("other", "", key[2], key[3])
        return self._requests.setdefault(key, _Requests())


class Totals:
    """What all processes have counted together; one of them keeps it, the others send it their snapshots.

    Args:
        fresh_seconds: Age from which a process's gauges no longer count: it is gone, or stuck [s].
        most: Processes kept apart; beyond that the ones longest silent are added up for good.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self, *, fresh_seconds: float = 10.0, most: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fresh_seconds = fresh_seconds
        self._most = most
        self._clock = clock
        self._latest: dict[str, tuple[float, Snapshot, bool]] = {}  # the longest silent first
        self._gone = Snapshot()

    def update(self, source: str, snapshot: Snapshot, *, replica: bool = True) -> None:
        """Takes what a process has counted since it began.

        Args:
            source: Id of the process, never used again by another.
            snapshot: Its latest snapshot.
            replica: Whether it answers requests, and is to be counted as one that does.
        """
        self._latest.pop(source, None)
        self._latest[source] = (self._clock(), snapshot, replica)
        while len(self._latest) > self._most:
            _, last, _ = self._latest.pop(next(iter(self._latest)))
            self._gone = merged([self._gone, last.lasting()])

    def snapshot(self) -> Snapshot:
        """The sum, and how many replicas have reported lately."""
        oldest = self._clock() - self._fresh_seconds
        snapshots, replicas = [self._gone], 0
        for at, snapshot, replica in self._latest.values():
            fresh = at >= oldest
            snapshots.append(snapshot if fresh else snapshot.lasting())
            replicas += fresh and replica
        total = merged(snapshots)
        total.gauges["entrepot_replicas", ()] = float(replicas)
        return total


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of snapshots, in a new one."""
    total = Snapshot()
    for snapshot in snapshots:
        for key, count in snapshot.counters.items():
            total.counters[key] = total.counters.get(key, 0.0) + count
        for key, value in snapshot.gauges.items():
            before = total.gauges.get(key, 0.0)
            total.gauges[key] = max(before, value) if key[0] in LARGEST else before + value
        for key, buckets in snapshot.histograms.items():
            _add(total.histograms, key, buckets)
    return total


def render(snapshots: Iterable[Snapshot]) -> bytes:
    """The sum of snapshots, as Prometheus reads it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(merged(snapshots)))
    return generate_latest(registry)


class _Collected:
    """A snapshot as prometheus_client takes it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All figures, those without a value too, so that one sees which there are."""
        for name, (text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, count in _of(name, self._snapshot.counters, labels):
                counter.add_metric(values, count)
            yield counter
        for name, (text, labels) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, value in _of(name, self._snapshot.gauges, labels):
                gauge.add_metric(values, value)
            yield gauge
        for name, (text, labels, bounds) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for (of, values), buckets in sorted(self._snapshot.histograms.items()):
                if of == name:
                    histogram.add_metric(values, _cumulative(bounds, buckets[:-1]), buckets[-1])
            yield histogram


class _Requests:
    __slots__ = ("buckets", "rows", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0
        self.rows = 0


class _Batches:
    __slots__ = ("request_buckets", "requests", "row_buckets", "rows")

    def __init__(self) -> None:
        self.row_buckets = [0] * (len(ROWS) + 1)
        self.rows = 0
        self.request_buckets = [0] * (len(ROWS) + 1)
        self.requests = 0


def _add(histograms: dict[Key, tuple[float, ...]], key: Key, buckets: tuple[float, ...]) -> None:
    before = histograms.get(key)
    histograms[key] = buckets if before is None else tuple(map(sum, zip(before, buckets, strict=True)))


def _of(name: str, figures: Mapping[Key, float], labels: tuple[str, ...]) -> list[tuple[tuple[str, ...], float]]:
    """Values of a figure by its labels; 0 if it has no labels and has not been counted."""
    found = sorted((values, figure) for (of, values), figure in figures.items() if of == name)
    return found or ([] if labels else [((), 0.0)])


def _cumulative(bounds: tuple[float, ...], counts: tuple[float, ...]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: how many are at most so large."""
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
