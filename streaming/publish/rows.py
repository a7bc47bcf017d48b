"""Rows of a source as impressions with the times of their clicks; every bad row a reject."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch import Batch, Position, Reject
from features.errors import SpecError
from features.events import (
    MAX_EVENT_BYTES,
    MAX_ID_LENGTH,
    MAX_TIMESTAMP_MS,
    MIN_TIMESTAMP_MS,
    Impression,
)
from features.labels import labels, labels_due
from features.spec import Spec
from features.times import NO_TIME, times_ms
from features.values import text_column
from features.vectoriser import Vectoriser
from streaming.publish.columns import field_dicts

__all__ = ["START_MS", "ClickDelay", "PublishBatch", "PublishedImpression", "RowReader"]

START_MS = 1_736_121_600_000
"""2025-01-06 00:00 UTC: where a log without times begins; each row is a second."""

DELAY_COLUMN = "click_delay_ms"
"""The simulator's own click delays."""

_LONGEST_NAME = 96
_encode = msgspec.json.Encoder().encode


class ClickDelay(msgspec.Struct, frozen=True):
    """How long after its impression a click comes, where the log does not say: exponential.

    Drawn by the impression's id alone, so the same in every run.

    Parameters
    ----------
    mean_s
        Mean. Longer: more late clicks, later labels.
    longest_s
        No delay is longer; within the join window no click is late.

    Examples
    --------
    >>> ClickDelay(20.0, 600.0).ms("imp-1")
    20948
    """

    mean_s: float = 20.0
    longest_s: float = 600.0

    def ms(self, impression_id: str) -> int:
        """Delay of an impression's click."""
        digest = hashlib.blake2b(impression_id.encode(), digest_size=8, person=b"click delay")
        uniform = (int.from_bytes(digest.digest(), "little") + 0.5) / 2**64
        seconds = -self.mean_s * math.log(uniform)
        return round(1000 * min(seconds, self.longest_s))


class PublishedImpression(msgspec.Struct, gc=False):
    """One impression to publish.

    Parameters
    ----------
    unit
        Its row's number within the batch, bad rows counted.
    time, click
        Event time of the impression, and of its click if it has one, ms.
    key, value
        Its id, and the event as JSON.
    """

    unit: int
    time: int
    click: int | None
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class PublishBatch:
    """A batch, ready to publish.

    Parameters
    ----------
    shown
        The good rows, in order.
    rejects
        Number within the batch and reject of each bad row, in order.
    units
        How many rows, good or bad.
    position
        In the source, after all of it.
    after
        ``after(i)``: the position after ``shown[i]``.
    """

    shown: list[PublishedImpression]
    rejects: list[tuple[int, Reject]]
    units: int
    position: Position
    after: Callable[[int], Position]


class RowReader:
    """Makes impressions of a batch's rows.

    Parameters
    ----------
    spec
        Which column is what, and which the fields read.
    source
        Name of the log, for the ids where the spec names no column of ids.
    delay
        Of clicks, where the log does not say.
    prefix
        Put before every id: makes the ids of a second run others.
    shift_ms
        Added to all event times; None: so many that the first good time becomes ``begin_ms``.
    begin_ms
        Where the stream begins, if ``shift_ms`` is None.
    """

    def __init__(
        self,
        spec: Spec,
        source: str,
        *,
        delay: ClickDelay,
        prefix: str = "",
        shift_ms: int | None = 0,
        begin_ms: int = 0,
    ) -> None:
        if spec.source.views:
            raise SpecError(
                "a row of this log stands for many impressions, which have no ids and times",
                field="source.views",
                fix="publish a log with a row for each impression, or replay this one",
            )
        vectoriser = Vectoriser(spec)
        self.spec, self.source, self.delay, self.prefix = spec.source, source, delay, prefix
        self.shift_ms, self._begin_ms = shift_ms, begin_ms
        self.simulated = source.startswith("sim:")
        truth = [self.spec.truth] if self.spec.truth else []
        self.fields = list(dict.fromkeys([*vectoriser.columns, *truth]))
        self._formats = {f.column: f.time_format for f in vectoriser.fields if f.is_time}
        if self.spec.timestamp:
            self._formats.setdefault(self.spec.timestamp, self.spec.timestamp_format)

    @property
    def columns(self) -> list[str]:
        """Columns that are needed, each once."""
        spec = self.spec
        named = [spec.event_id, spec.timestamp, spec.label]
        delays = [DELAY_COLUMN] if self.simulated else []
        return list(dict.fromkeys([*(c for c in named if c), *self.fields, *delays]))

    @property
    def recipe(self) -> str:
        """A text that is equal where the same rows give the same events."""
        parts = [self.spec, self.fields, self.prefix, self.delay]
        return f"{zlib.crc32(msgspec.json.encode(parts)):08x}"

    def __call__(self, batch: Batch, seconds: int = 0) -> PublishBatch:
        """Read a batch; its first row is number ``seconds`` of the source."""
        return _Reading(self, batch, seconds).part()

    def shift_for(self, times: NDArray[np.int64], good: NDArray[np.bool_]) -> int:
        """Ms to add to event times, settled by the first good one."""
        if self.shift_ms is None:
            if not good.any():
                return 0
            self.shift_ms = self._begin_ms - int(times[np.argmax(good)])
        return self.shift_ms


class _Reading:
    """One batch, being read."""

    def __init__(self, reader: RowReader, batch: Batch, first: int) -> None:
        self.reader, self.batch, self.rows = reader, batch, batch.columns
        self.good = np.ones(self.rows.num_rows, np.bool_)
        self.units = _units(batch)
        self.first = first
        self.rejects = _unparsed(batch, self.units)

    def part(self) -> PublishBatch:
        clicked = self._clicked()
        times = self._times()
        ids = self._ids()
        good_rows = np.flatnonzero(self.good)
        values = self._encoded(good_rows, ids, times)
        delays = self._delays()
        shown = []
        number = self.units.tolist()
        for row, value in zip(good_rows.tolist(), values, strict=True):
            if len(value) > MAX_EVENT_BYTES:
                detail = f"{len(value)} bytes as an event, at most {MAX_EVENT_BYTES}"
                reject = self.batch.reject(row, "event_too_large", detail)
                self.rejects.append((number[row], reject))
                continue
            click = times[row] + delays(row, ids[row]) if clicked[row] else None
            key = (self.reader.prefix + ids[row]).encode()
            shown.append(PublishedImpression(number[row], times[row], click, key, value))
        return self._whole(shown)

    def _whole(self, shown: list[PublishedImpression]) -> PublishBatch:
        batch, units = self.batch, self.units
        self.rejects.sort(key=lambda pair: pair[0])
        return PublishBatch(
            shown=shown,
            rejects=self.rejects,
            units=len(units) + len(batch.rejects),
            position=batch.position,
            after=lambda i: batch.positions(int(np.searchsorted(units, shown[i].unit))),
        )

    def _clicked(self) -> list[bool]:
        column = self.reader.spec.label
        if not column:
            return [False] * self.rows.num_rows
        values = self.reader.spec.label_values
        clicks = labels(self.rows.column(column), values)
        self._check(np.isnan(clicks), "bad_label", column, labels_due(values))
        return (clicks == 1).tolist()  # type: ignore[no-any-return]

    def _times(self) -> list[int]:
        spec = self.reader.spec
        if spec.timestamp:
            times, bad = times_ms(self.rows.column(spec.timestamp), spec.timestamp_format)
            due = f"a time ({spec.timestamp_format})"
            self._check(bad | (times == NO_TIME), "bad_time", spec.timestamp, due)
        else:
            times = START_MS + 1000 * (self.first + self.units)
        times = np.where(self.good, times, 0)
        times = np.where(self.good, times + self.reader.shift_for(times, self.good), 0)
        outside = (times < MIN_TIMESTAMP_MS) | (times > MAX_TIMESTAMP_MS)
        self._check(outside, "timestamp_range", spec.timestamp, "in the years 2000 to 2099")
        return times.tolist()  # type: ignore[no-any-return]

    def _ids(self) -> list[str]:
        column = self.reader.spec.event_id
        if not column:
            return self._numbered()
        words = text_column(self.rows.column(column))
        if pa.types.is_dictionary(words.type):
            words = words.dictionary_decode()
        words = pc.fill_null(words.cast(pa.string()), "")
        lengths = pc.utf8_length(words).to_numpy(zero_copy_only=False)
        longest = MAX_ID_LENGTH - len(self.reader.prefix)
        wrong = (lengths < 1) | (lengths > longest)
        self._check(wrong, "id_length", column, f"an id of 1 to {longest} characters")
        return words.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]

    def _numbered(self) -> list[str]:
        """Ids of the file's name and the row's number in it."""
        before = self.batch.position.row - self.rows.num_rows - len(self.batch.rejects)
        name = _source_name(self.batch.file, self.reader.source)
        return [f"{name}:{before + unit + 1}" for unit in self.units.tolist()]

    def _delays(self) -> Callable[[int, str], int]:
        if not self.reader.simulated:
            return lambda row, name: self.reader.delay.ms(name)
        known: list[int] = self.rows.column(DELAY_COLUMN).to_numpy().tolist()
        return lambda row, name: known[row]

    def _encoded(
        self, good_rows: NDArray[np.int64], ids: list[str], times: list[int]
    ) -> list[bytes]:
        rows = self.rows.select(self.reader.fields)
        if len(good_rows) < rows.num_rows:
            rows = rows.take(pa.array(good_rows))
        fields = field_dicts(rows, self.reader._formats)
        prefix = self.reader.prefix
        return [
            _encode(
                Impression(v=1, impression_id=prefix + ids[i], timestamp=times[i], fields=values)
            )
            for i, values in zip(good_rows.tolist(), fields, strict=True)
        ]

    def _check(self, wrong: NDArray[np.bool_], reason: str, column: str, due: str) -> None:
        for i in np.flatnonzero(wrong & self.good).tolist():
            self.rejects.append((int(self.units[i]), self.batch.misfit(i, reason, column, due)))
        self.good &= ~wrong


def _units(batch: Batch) -> NDArray[np.int64]:
    """Number of each row within the batch, those that could not be parsed counted."""
    rows = batch.columns.num_rows
    if not batch.rejects:
        return np.arange(rows, dtype=np.int64)
    before = batch.position.row - rows - len(batch.rejects)
    return np.array([batch.positions(i).row - before - 1 for i in range(rows)], np.int64)


def _unparsed(batch: Batch, units: NDArray[np.int64]) -> list[tuple[int, Reject]]:
    """Number of each unparsed row: those, in order, that no good row has."""
    if not batch.rejects:
        return []
    every = np.arange(len(units) + len(batch.rejects))
    free: list[Any] = np.setdiff1d(every, units).tolist()
    return list(zip(free, batch.rejects, strict=True))


def _source_name(file: str, source: str) -> str:
    name = "stdin" if file == "-" else Path(file).name if file == source else file
    if len(name) <= _LONGEST_NAME:
        return name
    return hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
