"""Which slices are repaired, and by how much: what the monitor publishes and serving applies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.values import as_text
from monitoring.watch.detect.alarm import slice_name

__all__ = [
    "MOST",
    "REPAIRS",
    "Repair",
    "RepairTable",
    "repaired",
    "table_of",
    "with_repairs",
    "without_repairs",
]

F64 = NDArray[np.float64]

REPAIRS = "repairs"
"""The topic: one partition, a :class:`RepairTable` as JSON in each record; the newest holds."""
MOST = 4.0
"""Repairs together multiply or divide by this at most."""
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
            factors[i] = product(repair.factor for repair in repairs)
            of_rows[i] = repairs
        return factors, of_rows


def product(factors: Iterable[float]) -> float:
    """Factors of one event together, as far as :data:`MOST` lets them."""
    return float(np.clip(np.prod(list(factors)), 1.0 / MOST, MOST))


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
