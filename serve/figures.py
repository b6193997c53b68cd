"""The figures that the service shows: names, what they mean, labels, and bounds of the histograms."""

from __future__ import annotations

from collections.abc import Mapping

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histogram of latencies [s]."""

ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
"""Upper bounds of the histogram of batch sizes [rows]."""

COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "entrepot_requests": ("Requests, by what answered and how.", ("model", "version", "route", "status")),
    "entrepot_rows": ("Rows of observations answered.", ("model", "version")),
    "entrepot_refusals": ("Requests refused: overload, rate, key, invalid, timeout, …", ("reason",)),
    "entrepot_reloads": ("Versions taken up or refused.", ("model", "outcome")),
    "entrepot_canary_requests": ("Requests that pinned no version and got the canary.", ("model", "version")),
    "entrepot_shadow_requests": ("Requests also put to the shadow.", ("model", "version", "shadow")),
    "entrepot_shadow_rows": ("Rows also put to the shadow.", ("model", "version", "shadow")),
    "entrepot_shadow_differing_rows": (
        "Rows in which the shadow would have acted differently.",
        ("model", "version", "shadow"),
    ),
    "entrepot_shadow_difference": (
        "Sum over rows of the mean absolute difference of actions; divide by entrepot_shadow_rows_total.",
        ("model", "version", "shadow"),
    ),
    "entrepot_shadow_failures": ("Requests that the shadow could not answer.", ("model", "version", "shadow")),
    "entrepot_access_log_lost": ("Lines of the access log that could not be written.", ()),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "entrepot_in_flight": ("Requests being worked on.", ()),
    "entrepot_queued": ("Requests waiting for their turn.", ()),
    "entrepot_sessions": ("Recurrent sessions kept.", ()),
    "entrepot_served": ("1 for each loaded version and the way it is referred to.", ("model", "version", "reference")),
    "entrepot_replicas": ("Replicas that have reported lately.", ()),
}
HISTOGRAMS: Mapping[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "entrepot_request_seconds": (
        "Time from the end of the headers to the end of the answer.",
        ("model", "version", "route"),
        SECONDS,
    ),
    "entrepot_batch_rows": ("Rows in one call of the runtime.", ("model", "version"), ROWS),
    "entrepot_batch_requests": ("Requests that shared one call of the runtime.", ("model", "version"), ROWS),
}
LARGEST = frozenset({"entrepot_served", "entrepot_sessions"})
"""Gauges that every replica reports of the same thing: the largest stands for all; the others are added up."""
