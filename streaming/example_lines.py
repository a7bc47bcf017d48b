"""Lines of example events, looked into: what is learned of each, and its prediction as served.

What an example is says :mod:`features.events`. A line as it is usually written is scanned; any
other one (a correction, an escape in a key, a key twice, anything invalid) is read strictly, and
what it holds is put behind the lines, so that all values stand in one text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.batch import Reject
from features.events import (
    MAX_ID_LENGTH,
    MAX_TIMESTAMP_MS,
    MIN_TIMESTAMP_MS,
    MOST_ONE_IN,
    EventError,
    Example,
    decode_event,
)
from streaming.example_places import Place
from streaming.sources.block import Block, line_spans
from streaming.sources.json_columns import texts_of
from streaming.sources.json_keys import ANY, NUMBERS, Keys
from streaming.sources.json_scan import Members, find_members
from streaming.sources.json_values import FLOAT, INT, NULL, OBJECT, TEXT

__all__ = ["ExampleLines"]

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_EXAMPLE = ("type", "v", "label", "impression", "click_timestamp", "correction", "one_in")
_IMPRESSION = (
    "type", "v", "impression_id", "timestamp", "fields", "probability", "model_version", "counters",
)  # fmt: skip
_FIELDS, _PROBABILITY, _VERSION, _COUNTERS = range(4)
_NOTHING = msgspec.Raw(b"")


@lru_cache(maxsize=8)
def _example_keys(fields: Keys | None) -> Keys:
    """The keys of an example, of its impression, and of the fields, if those are known."""
    names = (*_IMPRESSION[:-1], "propensity", "counters")
    inside = {"counters": Keys.of((), (), expect=NUMBERS)} | ({"fields": fields} if fields else {})
    impression = Keys.of(names, _IMPRESSION, {"type": '"impression"', "v": "1"}, ANY, inside)
    values = {"type": '"example"', "v": "1", "correction": "false"}
    return Keys.of(_EXAMPLE, _EXAMPLE, values, ANY, {"impression": impression})


class _Impression(msgspec.Struct):
    """The parts of an impression that are learned or watched, as they were received."""

    timestamp: int
    fields: msgspec.Raw = msgspec.Raw(b"{}")
    probability: msgspec.Raw = _NOTHING
    model_version: msgspec.Raw = _NOTHING
    counters: msgspec.Raw = _NOTHING

    def texts(self) -> list[bytes]:
        """Each as JSON; empty for null."""
        parts = (self.fields, self.probability, self.model_version, self.counters)
        return [b"" if bytes(part) == b"null" else bytes(part) for part in parts]


class _Outcome(msgspec.Struct):
    """An example, read strictly."""

    label: int
    impression: _Impression
    click_timestamp: int | None = None
    dismiss_timestamp: int | None = None
    correction: bool = False
    one_in: int = 1

    @property
    def kind(self) -> int:
        """0: an event; 1: a correction for a late click; 2: one that changes no label.

        A correction for a late dismissal repeats what is known of the click; then the
        dismissal is the later one.
        """
        if not self.correction:
            return 0
        clicked, hidden = self.click_timestamp, self.dismiss_timestamp
        late_click = self.label == 1 and clicked is not None
        return 1 if late_click and (hidden is None or hidden <= (clicked or 0)) else 2


_outcome = msgspec.json.Decoder(_Outcome)


@dataclass(slots=True)
class ExampleLines:
    r"""Lines of example events, looked into.

    Parameters
    ----------
    data
        The lines, and behind them the values of those that were read strictly.
    starts, ends
        int64 (n,), of each line that is not blank.
    order
        The good lines, in the order in which they are to be learned.
    label, timestamp, clicked
        int64 (n,): 0 or 1; event time of the impression, ms; of its click, 0: none.
    kind
        int8 (n,): 0 an event, 1 the late click of one, 2 an amendment that changes no label.
    one_in
        int64 (n,): of unclicked impressions, one in so many has an example.
    place, rejects
        Where each line stands; the bad ones.

    Examples
    --------
    >>> line = (b'{"type":"example","v":1,"label":1,"impression":{"type":"impression","v":1,'
    ...         b'"impression_id":"i","timestamp":1736121600000,"fields":{"ad":"a"}}}')
    >>> lines = ExampleLines.of(line + b"\n{}", lambda i: ("examples-0", i))
    >>> lines.fields().row(0), lines.label[lines.order].tolist(), lines.rejects[0].reason
    (b'{"ad":"a"}', [1], 'unsupported_version')
    """

    data: bytes
    starts: I64
    ends: I64
    order: I64
    label: I64
    timestamp: I64
    clicked: I64
    kind: NDArray[np.int8]
    one_in: I64
    place: Place
    rejects: list[Reject]
    _begin: I32
    _size: I32
    _keys: Keys | None
    _members: Members | None

    @classmethod
    def of(cls, data: bytes, place: Place, keys: Keys | None = None) -> ExampleLines:
        """Look into every line; those that the scan leaves out are read strictly.

        The members of the fields are found in the same walk if their keys are known.
        """
        starts, ends = line_spans(data)
        filled = ends > starts
        starts, ends = starts[filled], ends[filled]
        found = _scan(np.frombuffer(data, np.uint8), starts, ends, keys)
        scanned, label, timestamp, clicked, one_in, begin, size, members = found
        order, kind = np.empty(0, np.int64), np.zeros(len(starts), np.int8)
        lines = cls(
            data, starts, ends, order, label, timestamp, clicked, kind, one_in, place, [], begin,
            size, keys, members,
        )  # fmt: skip
        lines._read_strictly(~scanned)
        return lines

    def _read_strictly(self, odd: NDArray[np.bool_]) -> None:
        """Read some lines by the schema: each has its values, or becomes a reject."""
        good, extra, at = ~odd, [self.data], len(self.data)
        for i in np.flatnonzero(odd).tolist():
            example = _strictly(self.line(i))
            if isinstance(example, EventError):
                reason, detail = example.reason, example.detail
                self.rejects.append(Reject(reason, detail, *self.place(i), self.line(i)))
                continue
            good[i] = True
            self.label[i], self.kind[i] = example.label, example.kind
            self.one_in[i] = example.one_in
            self.timestamp[i] = example.impression.timestamp
            self.clicked[i] = example.click_timestamp or 0
            for part, text in enumerate(example.impression.texts()):
                self._begin[part, i], self._size[part, i] = at, len(text)
                extra.append(text)
                at += len(text)
        self.order = np.flatnonzero(good)
        if len(extra) > 1:
            self.data = b"".join(extra)
            self._find_members(np.flatnonzero(odd & good))

    def _find_members(self, rows: I64) -> None:
        """Those of the fields of lines that were read strictly."""
        if self._members is None or self._keys is None:
            return
        begin = self._begin[_FIELDS, rows].astype(np.int64)
        data, end = np.frombuffer(self.data, np.uint8), begin + self._size[_FIELDS, rows]
        found = find_members(data, begin, end, np.ones(len(rows), np.bool_), self._keys)
        assert found is not None
        self._members.put(rows, found)

    def sort(self) -> None:
        """By event time; those of the same millisecond stay in order."""
        self.order = self.order[np.argsort(self.timestamp[self.order], kind="stable")]

    def line(self, line: int) -> bytes:
        """A line as it stands."""
        return self.data[self.starts[line] : self.ends[line]]

    def origin(self, line: int) -> tuple[str, int, bytes]:
        """File, row number and bytes of a line."""
        return *self.place(line), self.line(line)

    def fields(self, *, apart: bool = False) -> Block:
        """The fields of all good lines, in order: where they stand, or ``apart``, as JSON Lines."""
        begin = self._begin[_FIELDS, self.order].astype(np.int64)
        end, data = begin + self._size[_FIELDS, self.order], self.data
        if apart:
            data = (
                b"\n".join([data[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)])
                + b"\n"
            )
            stops = np.cumsum(end - begin + 1)
            begin, end = stops - (end - begin + 1), stops - 1
        return Block(data, "examples", begin, end, self.order, 0)

    def members(self) -> Members | None:
        """The members of the fields of all good lines, in order, if their keys are known."""
        return None if self._members is None else self._members.of(self.order)

    def predictions(self, rows: I64) -> tuple[pa.Array, ...]:
        """The columns of :data:`streaming.examples.PREDICTION_COLUMNS`."""
        probability = self._texts(_PROBABILITY, rows).cast(pa.float64())
        versions = self._texts(_VERSION, rows).dictionary_encode()
        words = [_json_text(word) for word in versions.dictionary.view(pa.binary()).to_pylist()]
        version = pa.DictionaryArray.from_arrays(versions.indices, pa.array(words, pa.string()))
        return pa.array(self.timestamp[rows]), pa.array(self.clicked[rows]), probability, version

    def click_delays(self, rows: I64) -> I64:
        """From impression to click, in ms; 0 where there was none."""
        clicked = (self.label[rows] == 1) & (self.clicked[rows] > 0)
        delays: I64 = np.where(clicked, self.clicked[rows] - self.timestamp[rows], 0)
        return np.maximum(delays, 0)

    def served(self, rows: I64) -> pa.Array | None:
        """The counters that each impression carries, as JSON, null where it has none.

        ``None`` if there are none at all, as in the examples of a log that is published.
        """
        if not self._size[_COUNTERS, rows].any():
            return None
        return self._texts(_COUNTERS, rows).view(pa.binary())

    def _texts(self, part: int, rows: I64) -> pa.Array:
        data = np.frombuffer(self.data, np.uint8)
        return texts_of(data, self._begin[part, rows], self._size[part, rows])


def _json_text(word: bytes) -> str:
    """A JSON string's text; as it stands where it is broken: the scan has not looked into it."""
    try:
        return str(msgspec.json.decode(word))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return word[1:-1].decode(errors="replace")


def _scan(
    data: NDArray[np.uint8], starts: I64, ends: I64, fields_keys: Keys | None
) -> tuple[NDArray[np.bool_], I64, I64, I64, I64, I32, I32, Members | None]:
    """Which lines are understood; label, time, time of click, one in; where the rest stands."""
    plain = np.ones(len(starts), np.bool_)
    outer = find_members(data, starts, ends, plain, _example_keys(fields_keys))
    assert outer is not None
    inner, good = outer.inside["impression"], outer.plain
    type, version, label, impression, click, _, one_in = range(len(_EXAMPLE))
    good &= (outer.kind[type] > 0) & (outer.kind[version] > 0)
    good &= (outer.kind[label] == INT) & (outer.number[label] >= 0) & (outer.number[label] <= 1)
    good &= (outer.kind[click] <= NULL) | _is_time(outer.number[click])
    thinned = (outer.number[one_in] >= 1) & (outer.number[one_in] <= MOST_ONE_IN)
    good &= (outer.kind[one_in] == 0) | thinned
    good &= (outer.kind[impression] == OBJECT) & inner.plain
    type, version, id, time, fields, probability, model, counters = range(len(_IMPRESSION))
    good &= (inner.kind[type] > 0) & (inner.kind[version] > 0)
    good &= _is_time(inner.number[time]) & (inner.kind[fields] == OBJECT)
    good &= (inner.kind[id] == TEXT) & (inner.size[id] > 0) & (inner.size[id] <= MAX_ID_LENGTH)
    good &= np.isin(inner.kind[probability], (0, NULL, INT, FLOAT))
    good &= np.isin(inner.kind[model], (0, NULL, TEXT))
    good &= (inner.kind[counters] <= NULL) | inner.inside["counters"].plain
    inner.begin[model] -= inner.kind[model] == TEXT  # with its quotes
    inner.size[model] += 2 * (inner.kind[model] == TEXT)
    order = [fields, probability, model, counters]
    spans = inner.begin[order], inner.size[order]
    many = np.maximum(outer.number[one_in], 1)  # absent: 0
    numbers = outer.number[label], inner.number[time], outer.number[click], many
    return good, *numbers, *spans, inner.inside.get("fields")


def _is_time(ms: I64) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = (ms >= MIN_TIMESTAMP_MS) & (ms <= MAX_TIMESTAMP_MS)
    return within


def _strictly(line: bytes) -> _Outcome | EventError:
    """Read an example by the schema, or say what is wrong with it."""
    try:
        if not isinstance(decode_event(line), Example):
            return EventError("wrong_type", "an event of another type than example")
        return _outcome.decode(line)
    except EventError as error:
        return error
    except msgspec.DecodeError as error:
        return EventError("wrong_type", str(error))
