"""Which slices are repaired, and by how much: what the monitor publishes and serving applies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.values import as_text
from monitoring.watch.detect.alarm import slice_name
from streaming.log import EventLog, FencedError, LogError, NewRecord, Producer, TopicSettings

__all__ = [
    "MOST", "REPAIRS", "Repair", "RepairPublication", "RepairTable", "repaired", "table_of",
    "with_repairs", "without_repairs",
]  # fmt: skip

F64 = NDArray[np.float64]

REPAIRS = "repairs"
"""The topic: one partition, a :class:`RepairTable` as JSON in each record; the newest holds."""
MOST = 4.0
"""Repairs together multiply or divide by this at most."""
_EVERY_S, _AGAIN_S = 1.0, 60.0
_TOPIC = TopicSettings(REPAIRS, 1, 7 * 86_400_000, 10_000)
_VERSION = re.compile(r"\+r([0-9a-f]{8})")


def repaired(probability: F64, factor: F64 | float) -> F64:
    """Probabilities whose hazard ``-log(1 - p)`` is multiplied: of small ones, the click rate.

    Examples
    --------
    >>> repaired(np.array([0.01, 0.5, 1.0]), 2.0).round(4).tolist()
    [0.0199, 0.75, 1.0]
    """
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(factor * np.log1p(-probability)), np.float64)


class Repair(msgspec.Struct, frozen=True):
    """A slice whose predictions are multiplied.

    Parameters
    ----------
    field, value
        The slice.
    column
        Where its value stands among an impression's fields.
    factor
        By which the hazard of a click is multiplied.
    since_ms
        Event time from which on it is.
    """

    field: str
    value: str
    column: str
    factor: float
    since_ms: int

    @property
    def name(self) -> str:
        """For people and replies."""
        return slice_name(self.field, self.value, "=")


class RepairTable(msgspec.Struct, frozen=True, dict=True):
    """All repairs at one time.

    Parameters
    ----------
    at_ms
        Event time of the examples that they follow from.
    repairs
        None: nothing is repaired.

    Examples
    --------
    >>> table = RepairTable(0, (Repair("site", "s1", "site", 0.5, 0),))
    >>> factors, found = table.factors([{"site": "s1"}, {"site": "s2"}])
    >>> factors.tolist(), [[r.name for r in one] for one in found]
    ([0.5, 1.0], [['site=s1'], []])
    >>> RepairTable(0).factors([{}]) is None
    True
    """

    at_ms: int
    repairs: tuple[Repair, ...] = ()

    @cached_property
    def id(self) -> str:
        """Names what it does to a prediction: part of the version that is served and logged."""
        told = [(r.field, r.value, r.factor) for r in self.repairs]
        return hashlib.blake2b(msgspec.json.encode(told), digest_size=4).hexdigest()

    @cached_property
    def _by_column(self) -> dict[str, dict[str, tuple[Repair, ...]]]:
        columns: dict[str, dict[str, tuple[Repair, ...]]] = {}
        for repair in self.repairs:
            values = columns.setdefault(repair.column, {})
            values[repair.value] = (*values.get(repair.value, ()), repair)
        return columns

    def factors(self, rows: Sequence[Any]) -> tuple[F64, list[tuple[Repair, ...]]] | None:
        """Factor of each event, and which repairs it is made of; ``None``: none is repaired.

        Parameters
        ----------
        rows
            Column name to value; or what gives columns (``serving.event_batch.SharedFields``).
        """
        found: dict[int, tuple[Repair, ...]] = {}
        for column, values in self._by_column.items():
            for i, value in enumerate(_column(rows, column)):
                mine = values.get(value if isinstance(value, str) else _text(value))
                if mine:
                    found[i] = (*found.get(i, ()), *mine)
        if not found:
            return None
        factors = np.ones(len(rows))
        of_rows: list[tuple[Repair, ...]] = [()] * len(rows)
        for i, repairs in found.items():
            product = np.prod([repair.factor for repair in repairs])
            factors[i] = np.clip(product, 1.0 / MOST, MOST)
            of_rows[i] = repairs
        return factors, of_rows


def _column(rows: Sequence[Any], name: str) -> Iterable[Any]:
    shared = getattr(rows, "is_shared", None)
    if shared is None:
        return (row.get(name) for row in rows)
    if shared(name):
        return [rows.shared.get(name)] * len(rows)  # type: ignore[attr-defined]
    return rows.column(name)  # type: ignore[attr-defined, no-any-return]


def _text(value: Any) -> str:
    """What the monitor calls a value; a list is no slice, and a missing value is not repaired."""
    return "" if value is None or isinstance(value, list | dict) else as_text(value)


def with_repairs(version: str, table: RepairTable) -> str:
    """A model version as it is served with repairs.

    Examples
    --------
    >>> with_repairs("live-0a1b-7", RepairTable(0))
    'live-0a1b-7'
    """
    return f"{version}+r{table.id}" if table.repairs else version


def without_repairs(version: str) -> str:
    """The model version alone.

    Examples
    --------
    >>> without_repairs("live-0a1b-7+r00c0ffee")
    'live-0a1b-7'
    """
    return _VERSION.sub("", version)


def table_of(version: str) -> str:
    """The id of the table that a prediction of this version was repaired with; empty: of none.

    Examples
    --------
    >>> table_of("live-0a1b-7+r00c0ffee"), table_of("live-0a1b-7")
    ('00c0ffee', '')
    """
    found = _VERSION.search(version)
    return found[1] if found else ""


class RepairPublication:
    """Appends each new table, and the same one every minute: a monitor that is silent is gone.

    Nothing here needs to be exactly once: the newest record says everything.

    Parameters
    ----------
    log
        Where the topic is made.
    report
        Takes lines for people.
    """

    def __init__(self, log: EventLog, report: Callable[[str], None]) -> None:
        self.log, self.report = log, report
        self._producer: Producer | None = None
        self._told: str | None = None
        self._names: list[str] = []
        self._at = -_AGAIN_S
        log.create_topics([_TOPIC])

    def send(self, table: RepairTable, now_s: float) -> None:
        """Publish a table if it is new or it is time; the log may fail, later is soon enough."""
        waited = now_s - self._at
        if waited < (_EVERY_S if table.id != self._told else _AGAIN_S):
            return
        self._at = now_s
        try:
            if self._producer is None:
                self._producer = self.log.producer("repairs-0")
            with self._producer.transaction() as tx:
                tx.append(REPAIRS, [NewRecord(None, msgspec.json.encode(table), 0)])
        except FencedError:
            self.close()  # another monitor publishes; this one is stopped when it sends an alarm
        except LogError as error:
            self.report(f"monitor: the log takes no repairs now, again later: {error}")
            self.close()
        else:
            self._told, names = table.id, [repair.name for repair in table.repairs]
            if names != self._names:  # factors move all the time
                factors = ", ".join(f"{r.name} x{r.factor:g}" for r in table.repairs)
                self.report(f"monitor: REPAIR: {factors or 'nothing'}")
            self._names = names

    def close(self) -> None:
        """Let go."""
        if self._producer is not None:
            with suppress(LogError):
                self._producer.close()
        self._producer = None
