"""What a serving process counts, for Prometheus; several workers add up."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["CONTENT_TYPE_LATEST", "WORKERS_FOLDER", "Metrics"]

WORKERS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several workers keep their counts."""
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The counts of a process.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.request("/v1/predict", 200, 0.001)
    >>> b'clicktide_request_seconds_count{route="/v1/predict",status="200"} 1.0' in metrics.text()
    True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of = self.registry
        self._seconds = Histogram(
            "clicktide_request_seconds", "Time to answer", ["route", "status"],
            buckets=_SECONDS, registry=of,
        )  # fmt: skip
        self._by_route: dict[tuple[str, int], Histogram] = {}
        self._scored = Counter("clicktide_scored", "Impressions and candidates scored", registry=of)
        self._fallbacks = Counter(
            "clicktide_fallbacks",
            "Scored without what they should have",
            ["kind"],
            registry=of,
        )
        self._refused = Counter(
            "clicktide_overload", "Requests refused because too many were under way", registry=of
        )
        self._age = Gauge(
            "clicktide_weights_age_seconds", "Since an event was last learned",
            multiprocess_mode="livemax", registry=of,
        )  # fmt: skip
        self._events = Gauge(
            "clicktide_weights_events", "Events learned into the weights",
            multiprocess_mode="livemin", registry=of,
        )  # fmt: skip

    def request(self, route: str, status: int, seconds: float) -> None:
        """Note an answered request."""
        known = self._by_route.get((route, status))
        if known is None:
            known = self._by_route[route, status] = self._seconds.labels(route, str(status))
        known.observe(seconds)

    def scored(self, events: int, without: int, kind: str = "counters") -> None:
        """Note scored events, and how many of them lacked something."""
        self._scored.inc(events)
        if without:
            self._fallbacks.labels(kind).inc(without)

    def refused(self) -> None:
        """Note a request that was one too many."""
        self._refused.inc()

    def weights(self, events: int, age_s: float | None) -> None:
        """Note how new the weights are."""
        self._events.set(events)
        if age_s is not None:
            self._age.set(age_s)

    def text(self) -> bytes:
        """Everything in Prometheus's text form, all workers together."""
        if not os.environ.get(WORKERS_FOLDER):
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
