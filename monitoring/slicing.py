"""Which slices are watched, and how a slice field reads its value from an impression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.spec import FieldSpec, Spec
from features.times import NO_TIME, day_of_week, hour_of_day, times_ms
from monitoring.coded import MISSING, Coded

__all__ = ["HOUR", "MOST_FIELDS", "WEEKDAY", "SliceField", "slice_fields"]

HOUR, WEEKDAY, NEW = "hour", "weekday", "new:"
MOST_FIELDS = 20
"""Fields of a spec that are slices if none are named."""

_NUMBERS = ("log_squared", "log2", "quantile")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = [f"{hour:02d}" for hour in range(24)]


class SliceField(msgspec.Struct, frozen=True):
    """One field to slice by.

    Parameters
    ----------
    name
        As in alarms and reports.
    kind
        ``value`` (its text), ``number`` (powers of two: ``8..16``), ``hour`` or ``weekday``
        (UTC), or ``new`` (whether its text was first seen less than a day ago; told by
        :class:`monitoring.newness.Newness`).
    column
        Where it stands among the impression's fields; empty: the impression's own time.
    time_format
        Of ``hour`` and ``weekday``.
    """

    name: str
    kind: Literal["value", "number", "hour", "weekday", "new"] = "value"
    column: str = ""
    time_format: str = ""

    def coded(self, columns: pa.RecordBatch, time_ms: NDArray[np.int64]) -> Coded:
        """Value of each row; absent columns are missing in all."""
        if self.kind in ("hour", "weekday"):
            return self._time(columns, time_ms)
        if self.column not in columns.schema.names:
            return Coded.constant(MISSING, columns.num_rows)
        column = columns.column(self.column)
        return _powers(column) if self.kind == "number" else Coded.of(column)

    def _time(self, columns: pa.RecordBatch, time_ms: NDArray[np.int64]) -> Coded:
        times = time_ms
        if self.column in columns.schema.names:
            times, _ = times_ms(columns.column(self.column), self.time_format)
        names = _CLOCK if self.kind == "hour" else list(_DAYS)
        part = hour_of_day(times) if self.kind == "hour" else day_of_week(times)
        codes = np.where(times == NO_TIME, len(names), part).astype(np.int32)
        return Coded(codes, pa.array([*names, MISSING]))


def slice_fields(spec: Spec, names: Sequence[str] = ()) -> list[SliceField]:
    """The fields to slice by.

    Parameters
    ----------
    spec
        The feature spec.
    names
        Fields of it, other columns of the impressions, ``hour``, ``weekday``, ``new:FIELD``.
        None: the spec's first twenty fields that are not lists, and the hour.

    Examples
    --------
    >>> from features.spec_file import load_spec
    >>> [field.name for field in slice_fields(load_spec("sim"))][-4:]
    ['placement', 'device', 'hour_of_day', 'day_of_week']
    """
    known = {name: _of_spec(name, field, spec) for field in spec.fields for name in field.names}
    if names:
        return [known.get(name) or _other(name, known) for name in dict.fromkeys(names)]
    lists = {n for field in spec.fields if field.transform == "categories" for n in field.names}
    chosen = [field for name, field in known.items() if name not in lists][:MOST_FIELDS]
    own_hour = any(field.kind == "hour" for field in chosen)
    return chosen if own_hour or HOUR in known else [*chosen, SliceField(HOUR, "hour")]


def _of_spec(name: str, field: FieldSpec, spec: Spec) -> SliceField:
    column = field.column or name
    if field.transform in ("hour_of_day", "day_of_week"):
        own = column == spec.source.timestamp
        form = field.timestamp_format or spec.source.timestamp_format
        kind: Literal["hour", "weekday"]
        kind = "hour" if field.transform == "hour_of_day" else "weekday"
        return SliceField(name, kind, "" if own else column, form)
    return SliceField(name, "number" if field.transform in _NUMBERS else "value", column)


def _other(name: str, known: Mapping[str, SliceField]) -> SliceField:
    if name.startswith(NEW):
        of = name.removeprefix(NEW)
        return SliceField(name, "new", known[of].column if of in known else of)
    if name == HOUR:
        return SliceField(name, "hour")
    return SliceField(name, "weekday") if name == WEEKDAY else SliceField(name, "value", name)


def _powers(column: pa.Array) -> Coded:
    """Numbers by powers of two; what is no number by its text."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return Coded.of(column)
    values = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    size = np.clip(np.nan_to_num(np.abs(numbers)), 1e-9, 1e18)
    power = np.floor(np.log2(size)).astype(np.int64)
    code = np.where(numbers < 0, -1, 1) * (power + 100)
    code[numbers == 0] = 0
    code[np.isnan(numbers)] = _NONE
    distinct, codes = np.unique(code, return_inverse=True)
    return Coded(
        codes.astype(np.int32), pa.array(list(map(_range, distinct.tolist())), pa.string())
    )


_NONE = -1000


def _range(code: int) -> str:
    if code in (0, _NONE):
        return MISSING if code else "0"
    low, high = 2.0 ** (abs(code) - 100), 2.0 ** (abs(code) - 99)
    return f"{low:g}..{high:g}" if code > 0 else f"-{high:g}..-{low:g}"
