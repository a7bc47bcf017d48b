"""Event times of any log: the format is told from the first values, then read in bulk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.times import NO_TIME, times_ms
from features.values import text_column

__all__ = ["TimeReader"]

I64 = NDArray[np.int64]
_T = pa.types
_UNITS = {"s": 1000.0, "ms": 1.0, "us": 0.001}


class TimeReader:
    """Reads a column of times, batch by batch.

    Parameters
    ----------
    form
        As for :func:`features.times.time_ms`; empty: numbers are seconds, milliseconds or
        microseconds since 1970 by their size, and texts ISO 8601.

    Examples
    --------
    >>> times, bad = TimeReader()(pa.array(["1413849600", "1413849601.5"]))
    >>> times.tolist(), bad.tolist()
    ([1413849600000, 1413849601500], [False, False])
    >>> TimeReader()(pa.array(["2014-10-21T00:00:00Z"]))[0].tolist()
    [1413849600000]
    """

    def __init__(self, form: str = "") -> None:
        self._form = form

    def __call__(self, column: pa.Array) -> tuple[I64, NDArray[np.bool_]]:
        """Times in ms, and where a value is none."""
        if _T.is_timestamp(column.type) or _T.is_date(column.type):
            return times_ms(column, "iso")
        if not self._form:
            self._form = _told_form(column)
        quick = self._quick(column)
        return times_ms(column, self._form) if quick is None else quick

    def fix(self, value: str) -> str:
        """What to do about a value that is not a time."""
        if not value or value == "None":
            return "every row needs a time"
        return (
            f"times are read as {self._form!r} here; say how they are written with --time-format: "
            "iso, s, ms, us or a pattern such as '%y%m%d%H'"
        )

    def _quick(self, column: pa.Array) -> tuple[I64, NDArray[np.bool_]] | None:
        """By Arrow; None where it cannot read every value as we would."""
        if self._form in _UNITS:
            return self._numbers(column)
        if self._form != "iso":
            return None
        try:
            stamps = _plain(column).cast(pa.timestamp("ms", "UTC"))
        except pa.ArrowInvalid:
            try:  # times without a zone are UTC
                stamps = _plain(column).cast(pa.timestamp("ms"))
            except pa.ArrowInvalid:
                return None
        times = pc.fill_null(stamps.cast(pa.int64()), NO_TIME).to_numpy(zero_copy_only=False)
        return np.asarray(times, np.int64), np.zeros(len(column), np.bool_)

    def _numbers(self, column: pa.Array) -> tuple[I64, NDArray[np.bool_]] | None:
        try:
            values = _plain(column).cast(pa.float64())
        except pa.ArrowInvalid:
            return None
        numbers = pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)
        bad = ~(np.abs(numbers) * _UNITS[self._form] < 253_402_300_800_000)
        scaled = np.floor(np.where(bad, 0.0, numbers) * _UNITS[self._form])
        return np.where(bad, NO_TIME, scaled).astype(np.int64), bad


def _plain(column: pa.Array) -> pa.Array:
    if _T.is_integer(column.type) or _T.is_floating(column.type):
        return column
    words = text_column(column)
    return words.dictionary_decode() if _T.is_dictionary(words.type) else words


def _told_form(column: pa.Array) -> str:
    """The form of the first value that is there."""
    there = column.drop_null()
    if not len(there):
        return "iso"
    try:
        size = abs(float(there[0].as_py()))
    except (TypeError, ValueError):
        return "iso"
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us"
