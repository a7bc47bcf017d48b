"""Slices: which fields are watched, how an impression's value is read, what a slice is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.jit import jit
from features.spec import FieldSpec, Spec
from features.times import NO_TIME, day_of_week, hour_of_day, times_ms
from monitoring.watch.categorical import MISSING, Categorical

__all__ = [
    "HOUR", "MOST_FIELDS", "OTHER", "WEEKDAY", "Newness", "SliceField", "slice_fields",
]  # fmt: skip


HOUR, WEEKDAY, NEW = "hour", "weekday", "new:"
MOST_FIELDS = 20
"""Fields of a spec that are slices if none are named."""

OTHER = "(other)"
"""All values of a field that have no place of their own."""

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
        :class:`monitoring.watch.slices.Newness`).
    column
        Where it stands among the impression's fields; empty: the impression's own time.
    time_format
        Of ``hour`` and ``weekday``.
    """

    name: str
    kind: Literal["value", "number", "hour", "weekday", "new"] = "value"
    column: str = ""
    time_format: str = ""

    def coded(self, columns: pa.RecordBatch, time_ms: NDArray[np.int64]) -> Categorical:
        """Value of each row; absent columns are missing in all."""
        if self.kind in ("hour", "weekday"):
            return self._time(columns, time_ms)
        if self.column not in columns.schema.names:
            return Categorical.constant(MISSING, columns.num_rows)
        column = columns.column(self.column)
        return _powers(column) if self.kind == "number" else Categorical.of(column)

    def _time(self, columns: pa.RecordBatch, time_ms: NDArray[np.int64]) -> Categorical:
        times = time_ms
        if self.column in columns.schema.names:
            times, _ = times_ms(columns.column(self.column), self.time_format)
        names = _CLOCK if self.kind == "hour" else list(_DAYS)
        part = hour_of_day(times) if self.kind == "hour" else day_of_week(times)
        codes = np.where(times == NO_TIME, len(names), part).astype(np.int32)
        return Categorical(codes, pa.array([*names, MISSING]))


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


def _powers(column: pa.Array) -> Categorical:
    """Numbers by powers of two; what is no number by its text."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return Categorical.of(column)
    values = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    size = np.clip(np.nan_to_num(np.abs(numbers)), 1e-9, 1e18)
    power = np.floor(np.log2(size)).astype(np.int64)
    code = np.where(numbers < 0, -1, 1) * (power + 100)
    code[numbers == 0] = 0
    code[np.isnan(numbers)] = _NONE
    distinct, codes = np.unique(code, return_inverse=True)
    return Categorical(
        codes.astype(np.int32), pa.array(list(map(_range, distinct.tolist())), pa.string())
    )


_NONE = -1000


def _range(code: int) -> str:
    if code in (0, _NONE):
        return MISSING if code else "0"
    low, high = 2.0 ** (abs(code) - 100), 2.0 ** (abs(code) - 99)
    return f"{low:g}..{high:g}" if code > 0 else f"-{high:g}..-{low:g}"


_SLOTS = 1 << 20
_DAY_MS = 86_400_000
_NEW, _KNOWN, _MISSING = range(3)
_ALWAYS = -(1 << 60)


class Newness:
    """Remembers when each value of a field was first seen, in 8 MB.

    Values share 2**20 places by hash: of n values about the share n / 2**20 of new ones is taken
    for known. What is seen on the first day counts as known, for nobody knows since when it is.

    Examples
    --------
    >>> newness, day = Newness(), 86_400_000
    >>> ads = Categorical.of(pa.array(["a", "a", "b", "b"]))
    >>> coded = newness(ads, np.array([1, 2 * day, 2 * day, 4 * day]))
    >>> [coded.values[code] for code in coded.codes]
    ['known', 'known', 'new', 'known']
    """

    def __init__(self) -> None:
        self._first = np.zeros(_SLOTS, np.int64)
        self._since = 0

    def __call__(self, coded: Categorical, time_ms: NDArray[np.int64]) -> Categorical:
        """``new``, ``known`` or missing for each row."""
        if len(coded) and not self._since:
            self._since = int(time_ms[0])
        places = (coded.hashes % np.uint64(_SLOTS)).astype(np.int64)
        missing = pc.equal(coded.words, MISSING).to_numpy(zero_copy_only=False)
        places[missing] = -1
        out = np.empty(len(coded), np.int32)
        _judge(coded.codes, places, time_ms, self._first, self._since + _DAY_MS, out)
        return Categorical(out, pa.array(["new", "known", MISSING]))

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {"first": self._first, "since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._first, self._since = state["first"], state["since"]


@jit
def _judge(codes: Any, places: Any, time_ms: Any, first: Any, from_ms: int, out: Any) -> None:
    for i in range(len(codes)):
        place = places[codes[i]]
        if place < 0:
            out[i] = _MISSING
            continue
        if first[place] == 0:
            first[place] = time_ms[i] if time_ms[i] >= from_ms else _ALWAYS
        out[i] = _NEW if time_ms[i] - first[place] < _DAY_MS else _KNOWN
