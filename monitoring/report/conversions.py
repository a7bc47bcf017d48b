"""Conversions of a log: read from a column of flags or of times, and spoken of in a report.

A conversion comes hours or days after its click. A row whose conversion window has not closed
when the log ends may still convert: it is not judged, or every model would seem to promise too
much of late.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from numpy.typing import NDArray

from features.errors import SourceError
from features.labels import guess_label_values, labels
from features.times import NO_TIME
from features.values import as_text, text_column
from monitoring.report.log_columns import TimeReader
from monitoring.report.log_windows import TIME_STEPS_MS, LogWindows
from monitoring.report.model import ReportData
from monitoring.watch.scored_batch import Scored
from monitoring.watch.window import Terms

__all__ = ["ConversionReader", "closed_until", "of_conversions", "page_of_conversions"]

F64 = NDArray[np.float64]

_NONE_TEXTS = ("", "0", "-1", "0.0", "-1.0")
"""In a column of times: there was no conversion."""
_WINDOWS = 500


class ConversionReader:
    """Reads a column of conversions, batch by batch; an empty value is none.

    Parameters
    ----------
    name
        Of the column, for messages.
    values
        What its values mean, as of a label; empty: told from the first values, as are times.
    window_ms
        How long after the row's time a conversion counts; 0: always.

    Attributes
    ----------
    values
        What its values mean; ``None`` before there are any; empty too for times.

    Examples
    --------
    >>> reader = ConversionReader("sold", window_ms=3_600_000)
    >>> shown = np.array([1_790_000_000_000] * 3)
    >>> reader(pa.array(["", "1790000060", "1790009000"]), shown).tolist()  # none, soon, too late
    [0.0, 1.0, 0.0]
    >>> ConversionReader("sold")(pa.array(["yes", "no", ""]), shown).tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(
        self, name: str, values: Mapping[str, int] | None = None, *, window_ms: int = 0
    ) -> None:
        self.values: Mapping[str, int] | None = values or None
        self.times: TimeReader | None = None
        self._name, self._window_ms = name, window_ms

    def __call__(self, column: pa.Array, time_ms: NDArray[np.int64]) -> F64:
        """For each row 1 or 0, or NaN where the value is neither a flag nor a time."""
        if pa.types.is_temporal(column.type):
            self.times = self.times or TimeReader(name=self._name)
            return self._of_times(column, pc.is_null(column), time_ms)
        words = text_column(column)
        words = words.dictionary_decode() if pa.types.is_dictionary(words.type) else words
        words = pc.fill_null(pc.utf8_trim_whitespace(words.cast(pa.string())), "")
        empty = np.asarray(pc.equal(words, ""))
        if self.values is None and self.times is None and not empty.all():
            texts = [as_text(text) for text in pc.unique(words).to_pylist() if text]
            self.values = guess_label_values(texts)
            self.times = self._time_reader(texts) if self.values is None else None
        if self.times is not None:
            return self._of_times(words, pc.is_in(words, value_set=pa.array(_NONE_TEXTS)), time_ms)
        return np.where(empty, 0.0, labels(words, self.values))

    def _time_reader(self, texts: list[str]) -> TimeReader:
        reader = TimeReader(name=self._name)
        try:
            reader(pa.array([text for text in texts if text not in _NONE_TEXTS]))
        except SourceError as error:
            shown = ", ".join(repr(text[:40]) for text in texts[:3])
            raise SourceError(
                f"column {self._name!r}: {shown}: no conversions. Fix: --conversions COLUMN of 0 "
                "and 1 (or true and false, yes and no), or of times of the years 1985 to 2100, "
                "empty where there was none"
            ) from error
        return reader

    def _of_times(self, column: pa.Array, none: pa.Array, time_ms: NDArray[np.int64]) -> F64:
        assert self.times is not None
        known = ~np.asarray(none)
        converted = np.zeros(len(known))
        if known.any():
            times, bad = self.times(column.filter(pa.array(known)))
            soon = times - time_ms[known] <= self._window_ms if self._window_ms else True
            converted[known] = np.where(bad | (times == NO_TIME), np.nan, soon)
        return converted


def closed_until(
    batches: Generator[tuple[Scored, int]], window_ms: int, check: Callable[[], None]
) -> int:
    """Time (ms) from which on the conversion windows of a log's rows have not closed.

    Where the log ends is told by its usual times: one row of the year 2100 does not open all.
    """
    windows = LogWindows((), TIME_STEPS_MS, _WINDOWS, 1)
    for scored, _ in batches:
        if len(scored):
            windows.add(scored, Terms.of(scored))
        check()
    if not windows.series.by_number:
        return 0
    _, end = windows.usual_times()
    return end - windows.series.width - window_ms


_WORDS = {
    "click": "conversion",
    "clicks": "conversions",
    "clicked": "converted",
    "impression": "row",
    "impressions": "rows",
}
_STILL_OPEN = (
    "First leave out the newest rows, which may still convert, with --time COLUMN and "
    "--conversion-window 7d."
)
_SPOKEN = r"\b(clicks?|clicked|impressions?)\b"
_CODE = r"<script.*?</script>|<style.*?</style>|<!doctype.*?>"


def of_conversions(data: ReportData, *, are_complete: bool) -> ReportData:
    """The report with its words about conversions; its figures keep their names.

    Names of slices stay as they are, whatever they are.

    Parameters
    ----------
    data
        In words about clicks.
    are_complete
        Rows that may still convert are left out; else that comes before any other action.
    """
    verdict = {
        name: _spoken(getattr(data.verdict, name), _names(data))
        for name in ("headline", "calibrated", "since", "where", "cost", "action")
    }
    if not are_complete and data.verdict.state not in ("calibrated", "unknown"):
        verdict["action"] = f"{_STILL_OPEN} {verdict['action']}"
    return replace(data, outcome="conversion", verdict=replace(data.verdict, **verdict))


def page_of_conversions(page: str, data: ReportData) -> str:
    """The same of a page that was drawn of it."""
    return _spoken(page, [_CODE, *_names(data)])


def _names(data: ReportData) -> list[str]:
    """Patterns of the names in a report that have such a word in them."""
    named: list[Any] = [data.source, *(version.name for version in data.versions)]
    named += [name for row in data.slices for name in (row.field, row.value)]
    spoken = {name for name in named if re.search(_SPOKEN, name, re.IGNORECASE)}
    texts = spoken | {html.escape(name) for name in spoken}
    return [rf"(?<!\w){re.escape(text)}(?!\w)" for text in sorted(texts, key=len, reverse=True)]


def _spoken(text: str, kept: list[str]) -> str:
    def said(found: re.Match[str]) -> str:
        word = found[found.lastindex or 0]
        if found.lastindex != 2:
            return word
        other = _WORDS[word.lower()]
        return other.capitalize() if word[0].isupper() else other

    keep = "|".join(kept) or "(?!)"
    return re.sub(f"({keep})|{_SPOKEN}", said, text, flags=re.IGNORECASE | re.DOTALL)
