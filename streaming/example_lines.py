"""Lines of examples, looked into: what is learned of each, and what it says of its prediction."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.batch import Reject
from features.events import EventError, Example, decode_event
from streaming.example_places import Place
from streaming.example_scan import Found, copy_spans, runs_of, scan_examples
from streaming.sources.block import Block, line_spans
from streaming.sources.json_scan import texts_of

__all__ = ["ExampleLines"]

I64 = NDArray[np.int64]


class _Shown(msgspec.Struct):
    timestamp: int
    fields: msgspec.Raw = msgspec.Raw(b"{}")


class _Outcome(msgspec.Struct):
    """The part of an example that is learned, its fields as they were received."""

    label: int
    impression: _Shown
    click_timestamp: int | None = None
    dismiss_timestamp: int | None = None
    correction: bool = False

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


class _ShownWith(msgspec.Struct):
    counters: msgspec.Raw = msgspec.Raw(b"null")


class _Served(msgspec.Struct):
    """The part of an example that says with which counters its impression was predicted."""

    impression: _ShownWith


_outcome = msgspec.json.Decoder(_Outcome)
_served = msgspec.json.Decoder(_Served)


@dataclass(slots=True)
class ExampleLines:
    """Lines of examples, looked into: ``data[begin:end]`` of each are its fields."""

    data: bytes
    starts: I64
    ends: I64
    found: Found
    kind: NDArray[np.int8]
    order: I64
    place: Place
    rejects: list[Reject]

    @classmethod
    def of(cls, data: bytes, place: Place) -> ExampleLines:
        """Look into every line; those that the scan leaves out are read strictly."""
        starts, ends = line_spans(data)
        filled = ends > starts
        starts, ends = starts[filled], ends[filled]
        found = scan_examples(np.frombuffer(data, np.uint8), starts, ends)
        kind, keep = np.zeros(len(starts), np.int8), np.ones(len(starts), np.bool_)
        rejects, extra, at = [], [data], len(data)
        for i in np.flatnonzero(~found.plain).tolist():
            line = data[starts[i] : ends[i]]
            known = _strictly(line)
            if isinstance(known, EventError):
                keep[i] = False
                file, row = place(i)
                rejects.append(Reject(known.reason, known.detail, file, row, line))
                continue
            fields = bytes(known.impression.fields)
            extra.append(fields)
            found.begin[i], found.end[i] = at, at + len(fields)
            found.label[i], found.timestamp[i] = known.label, known.impression.timestamp
            kind[i] = known.kind
            at += len(fields)
        whole = b"".join(extra) if len(extra) > 1 else data
        return cls(whole, starts, ends, found, kind, np.flatnonzero(keep), place, rejects)

    def sort(self) -> None:
        """By event time; those of the same millisecond stay in order."""
        self.order = self.order[np.argsort(self.timestamp[self.order], kind="stable")]

    @property
    def label(self) -> I64:
        """0 or 1, by line."""
        return self.found.label

    @property
    def timestamp(self) -> I64:
        """Of the impression, by line."""
        return self.found.timestamp

    def line(self, line: int) -> bytes:
        """A line as it stands."""
        return self.data[self.starts[line] : self.ends[line]]

    def origin(self, line: int) -> tuple[str, int, bytes]:
        """File, row number and bytes of a line."""
        return *self.place(line), self.line(line)

    def said(self, rows: I64) -> tuple[pa.Array, ...]:
        """The columns of :data:`streaming.examples.SAID_COLUMNS`."""
        found = self.found
        odd = ~found.plain[rows] | (found.clicked[rows] < 0)
        data, spans = np.frombuffer(self.data, np.uint8), found.probability[rows]
        probability = _numbers(texts_of(data, spans[:, 0], spans[:, 1]))
        model, no_text = _unquoted(self._texts(found.model[rows]))
        if probability is None or no_text:
            odd[:] = True
            probability = pa.nulls(len(rows), pa.float64())
        numbers = (pa.array(of[rows]) for of in (found.timestamp, found.clicked))
        return pa.array(odd), *numbers, probability, model

    def _texts(self, spans: I64) -> pa.Array:
        """Texts of some spans, null where a span is empty; cheap where many in a row are equal."""
        run, first = np.empty(len(spans), np.int32), np.empty(len(spans), np.int64)
        count = runs_of(np.frombuffer(self.data, np.uint8), spans, run, first)
        words = [self.data[a:b].decode() or None for a, b in spans[first[:count]].tolist()]
        return pa.DictionaryArray.from_arrays(pa.array(run), pa.array(words, pa.string()))

    def click_delays(self, rows: I64) -> I64:
        """From impression to click, in ms; 0 where there was none."""
        out = np.zeros(len(rows), np.int64)
        for i in np.flatnonzero(self.label[rows] == 1).tolist():
            line = rows[i]
            known = _outcome.decode(self.line(line))
            if known.click_timestamp is not None:
                out[i] = max(known.click_timestamp - int(self.timestamp[line]), 0)
        return out

    def served(self, rows: I64) -> pa.Array | None:
        """The counters that each impression carries, as JSON, null where it has none.

        ``None`` if there are none at all, as in the examples of a log that is published.
        """
        spans, odd = self.found.counters[rows], np.flatnonzero(~self.found.plain[rows]).tolist()
        begin, end = np.ascontiguousarray(spans.T)
        begin[odd] = end[odd] = 0
        if not (odd or end.any()):
            return None
        found = texts_of(np.frombuffer(self.data, np.uint8), begin, end).view(pa.binary())
        if odd:
            texts = found.to_pylist()
            for i in odd:
                raw = bytes(_served.decode(self.line(rows[i])).impression.counters)
                texts[i] = None if raw == b"null" else raw
            found = pa.array(texts, pa.binary())
        return found if found.null_count < len(found) else None

    def view(self) -> Block:
        """The fields of all good lines, in order, where they stand in the examples."""
        begin, end = self.found.begin[self.order], self.found.end[self.order]
        return Block(self.data, "examples", begin, end, self.order, 0)

    def block(self) -> Block:
        """The fields of all good lines, in order, as JSON Lines."""
        begin, end = self.found.begin[self.order], self.found.end[self.order]
        sizes = end - begin
        out, starts = np.empty(int(sizes.sum()) + len(sizes), np.uint8), np.empty_like(begin)
        copy_spans(np.frombuffer(self.data, np.uint8), begin, end, out, starts)
        return Block(out.tobytes(), "examples", starts, starts + sizes, self.order, 0)


def _numbers(texts: pa.Array) -> pa.Array | None:
    """As float64; ``None`` if one is no number."""
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _unquoted(texts: pa.DictionaryArray) -> tuple[pa.Array, bool]:
    """Plain JSON strings without quotes, and whether one is none."""
    words = texts.dictionary.to_pylist()
    odd = any(word is not None and (word[0] != '"' or "\\" in word) for word in words)
    bare = pa.array([word and word[1:-1] for word in words], pa.string())
    return bare.take(texts.indices), odd


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
