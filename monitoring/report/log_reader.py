"""Reads a log of predictions and clicks as batches, and says exactly what is wrong with one.

A conversion comes hours or days after its click. A row whose conversion window has not closed
when the log ends may still convert: it is not judged, or every model would seem to promise too
much of late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ClicktideError, SourceError
from features.labels import guess_label_values, labels, labels_due
from features.spec import SourceSpec
from features.spec_guess_column import Column
from features.times import NO_TIME
from features.values import as_text, text_column
from monitoring.report.log_columns import (
    LogColumns,
    TimeReader,
    numbers,
    prediction_fix,
    predictions,
)
from monitoring.watch.categorical import Categorical
from monitoring.watch.scored_batch import Scored
from monitoring.watch.window import Terms
from monitoring.watch.windows import TIME_STEPS_MS, LogWindows
from streaming.sources import Batch, Reject, describe_head, open_source

__all__ = ["ConversionReader", "LogReader", "closed_until", "read_log"]

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


class LogReader:
    """Turns batches of a log's columns into :class:`Scored`.

    Parameters
    ----------
    columns
        Which column is what.
    skip_bad
        Leave bad rows out and count them, rather than raise.
    closed_until
        Rows of this time (ms) and later are left out: they may still convert.

    Attributes
    ----------
    skipped
        Rows left out, by what was wrong.
    label_values
        What the label's values mean; ``None`` before anything is read.
    """

    def __init__(
        self, columns: LogColumns, *, skip_bad: bool = False, closed_until: int | None = None
    ) -> None:
        self.columns, self.skip_bad, self.closed_until = columns, skip_bad, closed_until
        self.skipped: Counter[str] = Counter()
        self.label_values: Mapping[str, int] | None = columns.label_values or None
        self._conversions = ConversionReader(
            columns.conversions,
            None if columns.label else columns.label_values,  # else they are the clicks'
            window_ms=columns.conversion_window_ms,
        )
        self._times = TimeReader(columns.time_format, columns.time)
        self._rows = 0

    def __call__(self, batch: Batch) -> Scored:
        """Convert a batch.

        Raises
        ------
        SourceError
            A row is bad and bad rows are not to be skipped.
        """
        if batch.rejects:
            self._reject(batch.rejects)
        rows, columns = batch.columns, self.columns
        count = rows.num_rows
        p, p_bad = predictions(rows.column(columns.prediction))
        time, time_bad = self._time(batch)
        label, label_bad = self._label(rows)
        judged = np.ones(count, np.bool_)
        converted_bad = np.zeros(count, np.bool_)
        if columns.conversions:
            judged = self._judged(label, time)
            label = self._conversions(rows.column(columns.conversions), time)
            converted_bad = np.isnan(label)
        bid, bid_bad = np.full(count, np.nan), np.zeros(count, np.bool_)
        if columns.bid:
            bid, bid_bad = numbers(rows.column(columns.bid), empty_is_bad=False)
        scored = Scored(
            time_ms=time,
            probability=p,
            label=label,
            bid=bid,
            click_delay_ms=np.full(count, np.nan),
            correction=np.zeros(count, np.bool_),
            slices={name: _coded(rows.column(name)) for name in columns.slices},
            version=_coded(rows.column(columns.version)) if columns.version else None,
        )
        return self._good(
            batch,
            scored,
            judged,
            (
                (columns.prediction, p_bad, lambda value: prediction_fix(value, p)),
                (columns.label, label_bad, self._label_fix),
                (columns.conversions, converted_bad, self._conversion_fix),
                (columns.time, time_bad, self._times.fix),
                (columns.bid, bid_bad, lambda value: "give numbers, or leave --bid out"),
            ),
        )

    def _label(self, rows: pa.RecordBatch) -> tuple[F64, NDArray[np.bool_]]:
        """Whether each row was clicked, and where that is not to be told."""
        if not self.columns.label:
            return np.ones(rows.num_rows), np.zeros(rows.num_rows, np.bool_)
        column = rows.column(self.columns.label)
        if self.label_values is None and rows.num_rows:  # told from the first rows for all
            texts = Column(self.columns.label, column).texts.to_pylist()
            self.label_values = guess_label_values(texts) or {}
        label = labels(column, self.label_values or {})
        return label, np.isnan(label)

    def _judged(self, label: F64, time: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that may have converted, and can no more; the others are counted."""
        clicked: NDArray[np.bool_] = label != 0.0
        self.skipped["not clicked"] += int((~clicked).sum())
        if self.closed_until is None:
            return clicked
        closed: NDArray[np.bool_] = time < self.closed_until
        young = int((clicked & ~closed).sum())
        self.skipped["their conversion window is still open when the log ends"] += young
        return clicked & closed

    def _conversion_fix(self, value: str) -> str:
        times = self._conversions.times
        if times is not None:
            return times.fix(value)
        return f"a conversion is {labels_due(self._conversions.values)}, a time, or nothing"

    def _label_fix(self, value: str) -> str:
        say = (
            "say what is a click, as --label-values -1=0,1=1, or name the right column with --label"
        )
        return f"a label is {labels_due(self.label_values)}; {say}"

    def _time(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        count = batch.columns.num_rows
        if not self.columns.time:
            self._rows += count
            return np.arange(self._rows - count, self._rows), np.zeros(count, np.bool_)
        times, bad = self._times(batch.columns.column(self.columns.time))
        return times, bad | (times == NO_TIME)

    def _good(
        self,
        batch: Batch,
        scored: Scored,
        good: NDArray[np.bool_],
        faults: tuple[tuple[str, NDArray[np.bool_], Callable[[str], str]], ...],
    ) -> Scored:
        for name, bad, fix in faults:
            wrong = bad & good
            if wrong.any():
                if not self.skip_bad:
                    raise _bad_value(batch, name, int(np.flatnonzero(wrong)[0]), fix)
                self.skipped[f"bad {name}"] += int(wrong.sum())
                good = good & ~wrong
        return scored if good.all() else scored.take(good)

    def _reject(self, rejects: list[Reject]) -> None:
        if not self.skip_bad:
            first = rejects[0]
            raise SourceError(
                f"{first.file}, line {first.line}: {first.reason.replace('_', ' ')}: "
                f"{first.detail}. Fix: repair the line, or leave bad rows out with --skip-bad"
            )
        self.skipped.update(reject.reason.replace("_", " ") for reject in rejects)


_IN_OPTION_WORDS = (
    ("Fix: use the file's names in the spec",
     "Fix: name the right column with --label, --prediction, --time, --slices, --bid, "
     "--conversions or --version"),
    (", with header = false and columns if need be", ""),
)  # fmt: skip


def read_log(
    path: str, reader: LogReader, *, stdin: BinaryIO | None = None
) -> Generator[tuple[Scored, int]]:
    r"""Read a log in bounded memory.

    Parameters
    ----------
    path
        CSV, TSV, JSON Lines or Parquet, also packed; a folder of these; ``-``: standard input.
    reader
        Converts each batch.
    stdin
        What to read for ``-``.

    Yields
    ------
    scored, rows
        Good rows of a batch, and how many rows of the log it was.

    Raises
    ------
    SourceError
        The log cannot be read or lacks a column, or a row is bad.

    Examples
    --------
    >>> import io
    >>> log = io.BytesIO(b"click,p\n1,0.5\n0,0.2\n")
    >>> [(scored, rows)] = read_log("-", LogReader(LogColumns("click", "p")), stdin=log)
    >>> scored.probability.tolist(), rows
    ([0.5, 0.2], 2)
    """
    columns = reader.columns
    source = SourceSpec(label=columns.label, separator=_separator(path))
    with closing(open_source(path, source, columns.wanted, stdin=stdin)) as batches:
        while True:
            try:
                batch = next(batches, None)
            except SourceError as error:
                text = str(error)  # in words of the options, where a spec is spoken of
                for of_spec, of_options in _IN_OPTION_WORDS:
                    text = text.replace(of_spec, of_options)
                raise SourceError(text) from error
            if batch is None:
                return
            yield reader(batch), batch.columns.num_rows + len(batch.rejects)


def _separator(path: str) -> str:
    """What a text's columns are separated by, whatever its name says; empty: by its name."""
    if path == "-":
        return ""
    try:
        head = describe_head(path)
    except SourceError:  # it is told better when it is read
        return ""
    return head.separator


def _coded(column: pa.Array) -> Categorical:
    """As codes; a dictionary larger than the batch (Parquet's may be) is not gone through."""
    if pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column):
        column = column.dictionary_decode()
    return Categorical.of(column)


def _bad_value(batch: Batch, name: str, at: int, fix: Callable[[str], str]) -> ClicktideError:
    value = batch.columns.column(name)[at].as_py()
    line, _ = batch.origin(at)
    where = f"line {line}" if line else f"row {batch.positions(at).row}"
    shown = "it is empty" if value in (None, "") else f"{str(value)[:60]!r}"
    return SourceError(
        f"{batch.file}, {where}, column {name!r}: {shown}. Fix: {fix(str(value))}; "
        "or leave bad rows out with --skip-bad"
    )
