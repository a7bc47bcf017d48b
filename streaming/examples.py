"""From records of the examples topic to batches of rows, as a source of a log yields them.

A record's value holds one or many example events, a line each. The fields of their impressions,
put under each other, *are* JSON Lines: they go through the very parser that ``replay`` uses, so
a value has the same bits here as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.events import EventError, Example, decode_event
from features.spec import SourceSpec, Spec
from streaming.example_scan import Found, copy_spans, runs_of, scan_examples
from streaming.log import Record, Values
from streaming.prepare import CORRECTION, SERVED
from streaming.sources.batch import Batch, Position, Reject
from streaming.sources.block import Block, line_spans
from streaming.sources.json_lines import JsonLines
from streaming.sources.json_scan import Keys, texts_of
from streaming.sources.json_values import column_of, kinds_of
from streaming.sources.parsed import Parsed

__all__ = [
    "CLICK_DELAY", "LINE_BITS", "SAID", "SAID_COLUMNS", "ExampleReader", "Place", "examples_source",
    "in_record", "lines_of",
]  # fmt: skip

I64 = NDArray[np.int64]
Place = Callable[[int], tuple[str, int]]
_SAMPLE = 64
_MAX_LINE = 1 << 20
LINE_BITS = 20
"""An example of the log has the row number ``offset << LINE_BITS | line`` in its partition."""
CLICK_DELAY = "\0click_delay"
"""Column of milliseconds from the impression to its click, for counters."""
SAID = "\0said"
"""Asks for what an example says of its prediction, in the columns :data:`SAID_COLUMNS`."""
SAID_COLUMNS = ("\0odd", "\0time", "\0clicked", "\0probability", "\0model")
"""Whether a strict reader is to be asked for the others; times in ms, 0: no click; null: none."""
_PER_MS = {"ms": pa.int64(), "s": pa.float64(), "us": pa.int64()}


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


def examples_source(spec: Spec) -> SourceSpec:
    """The source of a spec as examples have it: counters learn of a click at its own time."""
    if not spec.counters:
        return spec.source
    return msgspec.structs.replace(spec.source, click_delay=CLICK_DELAY)


class ExampleReader:
    r"""Makes batches of example events.

    Parameters
    ----------
    source
        Which column is what. The label is the example's own; an absent time column is filled
        with the impression's timestamp if the format is ms, s or us.
    columns
        What is needed, the label included (:attr:`streaming.prepare.Preparer.columns`).
    by_time
        Whether to sort the examples of each batch by their impressions' time.

    Attributes
    ----------
    latest_ms
        The latest event time read.

    Examples
    --------
    >>> import numpy as np
    >>> reader = ExampleReader(SourceSpec(label="click"), ["click", "ad"])
    >>> line = (b'{"type":"example","v":1,"label":1,"impression":{"type":"impression","v":1,'
    ...         b'"impression_id":"i","timestamp":1736121600000,"fields":{"ad":"a"}}}')
    >>> [batch] = reader.batches(line + b"\n{}", lambda i: ("examples-0", i), Position("", 2))
    >>> batch.columns.to_pydict()["ad"], batch.rejects[0].reason
    (['a'], 'unsupported_version')
    """

    def __init__(
        self, source: SourceSpec, columns: Sequence[str], *, by_time: bool = False
    ) -> None:
        self.source, self.by_time = source, by_time
        own = (source.label, CLICK_DELAY, SAID)
        self.columns = [name for name in columns if name not in own]
        self._delays, self._said = CLICK_DELAY in columns, SAID in columns
        self.latest_ms = 0
        self._parse: JsonLines | None = None

    def batches(self, data: bytes, place: Place, position: Position) -> list[Batch]:
        """Read lines of example events.

        Parameters
        ----------
        data
            One event to a line.
        place
            ``place(i)``: file and row number of line i (blank lines not counted), for rejects.
        position
            After all of it.
        """
        lines = _Lines.of(data, place)
        if self.by_time:
            lines.sort()
        times = lines.timestamp[lines.order]
        self.latest_ms = max(self.latest_ms, int(times.max(initial=0)))
        parse = self._parse or self._parser(lines.block())
        scanned = parse.scanned(lines.view()) if len(lines.order) else None
        parts = [scanned] if scanned else parse(lines.block()) if len(lines.order) else []
        out = [self._batch(lines, part, position) for part in parts]
        if lines.rejects and not out:
            out = [self._batch(lines, _nothing(parse.wanted), position)]
        elif lines.rejects:
            out[0].rejects.extend(lines.rejects)
        return out

    def _parser(self, block: Block) -> JsonLines:
        """Made from the first block: what it expects makes it faster, and changes no value."""
        if self._parse is None:
            rows = list(_sample(block))
            first = list(rows[0]) if rows else []
            types = [(name, _type_of([row.get(name) for row in rows])) for name in self.columns]
            keys = Keys.of(first, self.columns)
            parser = JsonLines(tuple(self.columns), keys, pa.schema(types), _MAX_LINE)
            if not rows:
                return parser
            self._parse = parser
        return self._parse

    def _batch(self, lines: _Lines, part: Parsed, position: Position) -> Batch:
        rows = lines.order[part.rows]
        columns = {name: part.columns.column(i) for i, name in enumerate(part.columns.schema.names)}
        time = self.source.timestamp
        if time in columns:
            columns[time] = _with_time(
                columns[time], lines.timestamp[rows], self.source.timestamp_format
            )
        if self.source.label:
            columns[self.source.label] = pa.array(lines.label[rows])
        columns[CORRECTION] = pa.array(lines.kind[rows])
        if self._delays:
            columns[CLICK_DELAY] = pa.array(lines.click_delays(rows))
        if self._said:
            columns |= dict(zip(SAID_COLUMNS, lines.said(rows), strict=True))
        if (served := lines.served(rows)) is not None:
            columns[SERVED] = served
        rejects = []
        for reject in part.rejects:
            file, line, raw = lines.origin(reject.line)
            rejects.append(Reject(reject.reason, reject.detail, file, line, raw))
        return Batch(
            columns=pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)),
            file=position.file,
            origin=lambda i: lines.origin(int(rows[i]))[1:],
            positions=lambda i: Position(*_after(lines.place(int(rows[i])))),
            rejects=rejects,
            position=position,
        )


def in_record(records: Sequence[Record]) -> tuple[bytes, Place]:
    """The lines of some records, and where each line stands in the log."""
    groups = groupby(records, lambda record: (record.topic, record.partition))
    parts = [Values.of(*at, *_offsets_and_values(some)) for at, some in groups]
    return lines_of(parts)


def _offsets_and_values(records: Iterable[Record]) -> tuple[list[int], list[bytes]]:
    offsets, values = zip(*((record.offset, record.value) for record in records), strict=True)
    return list(offsets), list(values)


def lines_of(parts: Sequence[Values]) -> tuple[bytes, Place]:
    """The lines of the values of some records, and where each line stands in the log."""
    data = parts[0].data if len(parts) == 1 else b"\n".join([part.data for part in parts])
    return data, _Places(data, parts)


class _Places:
    """Where lines stand in the log; looked up when first asked, for few are."""

    def __init__(self, data: bytes, parts: Sequence[Values]) -> None:
        self._data, self._parts = data, parts
        sizes = [0, *(len(part.data) + 1 for part in parts)]
        self._begins = np.cumsum(sizes[:-1])

    @cached_property
    def _starts(self) -> I64:
        """Where each line begins that is not blank."""
        starts, ends = line_spans(self._data)
        return starts[ends > starts]

    def __call__(self, line: int) -> tuple[str, int]:
        at = self._starts[line]
        number = int(np.searchsorted(self._begins, at, side="right")) - 1
        part, begin = self._parts[number], self._begins[number]
        record = int(np.searchsorted(part.ends, at - begin, side="right"))
        record_begin = begin + (part.ends[record - 1] + 1 if record else 0)
        within = line - int(np.searchsorted(self._starts, record_begin))
        return f"{part.topic}-{part.partition}", int(part.offsets[record]) << LINE_BITS | within


def _after(place: tuple[str, int]) -> tuple[str, int]:
    return place[0], place[1] + 1


@dataclass(slots=True)
class _Lines:
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
    def of(cls, data: bytes, place: Place) -> _Lines:
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
        """The columns of :data:`SAID_COLUMNS`."""
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
        may = (self.found.counters[rows] == 1) | ~self.found.plain[rows]
        found: list[bytes | None] = [None] * len(rows)
        for i in np.flatnonzero(may).tolist():
            raw = bytes(_served.decode(self.line(rows[i])).impression.counters)
            found[i] = None if raw == b"null" else raw
        return pa.array(found, pa.binary()) if any(found) else None

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


def _sample(block: Block) -> Iterator[dict[str, Any]]:
    for i in range(0, block.rows, max(block.rows // _SAMPLE, 1)):
        try:
            row = msgspec.json.decode(block.row(i))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def _type_of(values: Sequence[Any]) -> pa.DataType:
    """Type to expect of a column; text where the values do not tell."""
    kinds = kinds_of(values)
    members = [member for value in values if isinstance(value, list) for member in value]
    odd = dict in kinds or (list in kinds and len(kinds) > 1)
    if odd or not kinds_of(members).isdisjoint((list, dict)):
        return pa.string()
    return column_of(values).type


def _nothing(columns: Sequence[str]) -> Parsed:
    empty = [pa.nulls(0, pa.string()) for _ in columns]
    return Parsed(pa.RecordBatch.from_arrays(empty, names=list(columns)), np.empty(0, np.int64), 0)


def _with_time(column: pa.Array, times: I64, form: str) -> pa.Array:
    """A time column, the impression's own time where it has none."""
    if form not in _PER_MS or not column.null_count:
        return column
    known = pa.array(times / 1000 if form == "s" else times * (1000 if form == "us" else 1))
    if column.null_count == len(column):
        return known
    if column.type != known.type:
        column, known = column.cast(pa.string()), known.cast(pa.string())
    return pc.if_else(pc.is_null(column), known, column)
