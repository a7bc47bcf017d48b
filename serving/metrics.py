"""Figures for Prometheus: of serving processes, all workers together, and of the stream."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.stream_snapshot import AlarmView, StreamSnapshot

__all__ = ["CONTENT_TYPE_LATEST", "WORKERS_FOLDER", "Metrics", "stream_metrics"]

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
        self._fallbacks = self._fallbacks.labels("counters")
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

    def scored(self, events: int, without: int) -> None:
        """Note scored events, and how many of them lacked something."""
        self._scored.inc(events)
        if without:
            self._fallbacks.inc(without)

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


def stream_metrics(look: StreamSnapshot | None) -> bytes:
    """Prometheus's text form of one look.

    Parameters
    ----------
    look
        ``None``: the stream could not be looked at.

    Examples
    --------
    >>> stream_metrics(None).splitlines()[-1]
    b'clicktide_stream_up 0.0'
    """
    registry = CollectorRegistry()
    registry.register(_Collector(look))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, look: StreamSnapshot | None) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Every figure that is known."""
        look = self._look
        up = "clicktide_stream_up"
        yield GaugeMetricFamily(up, "The event log answers", float(look is not None))
        if look is not None:
            yield from _counters(look)
            yield from _gauges(look)
            yield _alarms(look)


def _counters(look: StreamSnapshot) -> Iterator[Metric]:
    records = CounterMetricFamily("clicktide_records", "Appended to the log", labels=["topic"])
    for topic, count in look.records.items():
        records.add_metric([topic], count)
    yield records
    if (learned := look.trainer.get("learned")) is not None:
        yield CounterMetricFamily("clicktide_learned", "Impressions learned", learned)
    rejected = CounterMetricFamily(
        "clicktide_rejected", "Accepted into the log, then rejected", labels=["topic", "reason"]
    )
    for what, count in look.rejected.items():
        rejected.add_metric(what.split(" ", 1), count)
    yield rejected


def _gauges(look: StreamSnapshot) -> Iterator[Metric]:
    for name, documentation, value in _figures(look):
        if value is not None:
            yield GaugeMetricFamily(f"clicktide_{name}", documentation, value)
    for name, documentation, label, values in (
        ("table_occupancy", "Share of a table's buckets in use", "table", look.tables),
        ("lag_records", "Still to be read", "group", look.lags),
        ("freshness_seconds", "Age of the newest", "of", look.freshness),
        ("label_share", "Of the clicks", "of", look.labels),
    ):
        family = GaugeMetricFamily(f"clicktide_{name}", documentation, labels=[label])
        for of, value in values.items():
            family.add_metric([of.replace(" ", "_").replace(",", "")], value)
        yield family


def _figures(look: StreamSnapshot) -> Iterator[tuple[str, str, float | None]]:
    """Figures without a label; ``None``: not known."""
    yield "pending_impressions", "Wait for their label", look.pending
    yield "clock_ahead_seconds", "Stream's over wall clock", look.clock_ahead_s
    yield "stale", "Not watched, or weights old", float(bool(look.stale))
    yield "clicks_stalled", "Clicks seem to have stopped", float(look.stalled)
    if (saved := look.monitor_at_ms) is not None:
        yield "monitor_saved_timestamp_seconds", "When the monitor saved last", saved / 1000
        yield "alarms_open", "Shifts that go on", len(_open_alarms(look))
    if (recent := look.recent) is not None:
        newest = "Of the newest windows with some hundred clicks"
        yield "calibration_ratio", newest, recent.ratio
        yield "calibration_low", newest, recent.low
        yield "calibration_high", newest, recent.high
        yield "log_loss", newest, recent.log_loss
        yield "normalised_entropy", newest, recent.ne


def _open_alarms(look: StreamSnapshot) -> list[AlarmView]:
    return [alarm for alarm in look.alarms if alarm.ended is None]


def _alarms(look: StreamSnapshot) -> Metric:
    each = GaugeMetricFamily(
        "clicktide_alarm", "A shift that goes on; 0: it is silenced",
        labels=["what", "field", "value", "side", "severity"],
    )  # fmt: skip
    shifts = {
        (a.what, a.field, a.value, a.side, a.severity): a.silenced for a in _open_alarms(look)
    }
    for labels, silenced in sorted(shifts.items()):
        each.add_metric(list(labels), 0.0 if silenced else 1.0)
    return each
