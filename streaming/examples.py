"""From records of the examples topic to batches of rows, as a source of a log yields them.

A record's value holds one or many example events, a line each. The fields of their impressions,
put under each other, *are* JSON Lines: they go through the very parser that ``replay`` uses, so
a value has the same bits here as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch import Batch, Position, Reject
from features.spec import SourceSpec, Spec
from streaming.example_lines import ExampleLines
from streaming.example_places import LINE_BITS, Place, in_record, lines_of
from streaming.prepare import CORRECTION, SERVED
from streaming.sources.block import Block
from streaming.sources.json_lines import JsonLines
from streaming.sources.json_scan import Keys
from streaming.sources.json_values import column_of, kinds_of
from streaming.sources.parsed import Parsed

__all__ = [
    "CLICK_DELAY", "LINE_BITS", "SAID", "SAID_COLUMNS", "ExampleReader", "Place", "examples_source",
    "in_record", "lines_of",
]  # fmt: skip

I64 = NDArray[np.int64]
_SAMPLE = 64
_MAX_LINE = 1 << 20
CLICK_DELAY = "\0click_delay"
"""Column of milliseconds from the impression to its click, for counters."""
SAID = "\0said"
"""Asks for what an example says of its prediction, in the columns :data:`SAID_COLUMNS`."""
SAID_COLUMNS = ("\0odd", "\0time", "\0clicked", "\0probability", "\0model")
"""Whether a strict reader is to be asked for the others; times in ms, 0: no click; null: none."""
_PER_MS = {"ms": 1, "s": 0.001, "us": 1000, "ns": 1_000_000}


def examples_source(spec: Spec) -> SourceSpec:
    """The source of a spec as examples have it: their own label, clicks at their own time."""
    delay = CLICK_DELAY if spec.counters else spec.source.click_delay
    return msgspec.structs.replace(spec.source, label_values={}, views="", click_delay=delay)


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
    parser
        Of the fields; ``None`` until the first have been read.

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
        self.parser: JsonLines | None = None

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
        lines = ExampleLines.of(data, place)
        if self.by_time:
            lines.sort()
        times = lines.timestamp[lines.order]
        self.latest_ms = max(self.latest_ms, int(times.max(initial=0)))
        parse = self.parser or self._parser(lines.block())
        scanned = parse.scanned(lines.view()) if len(lines.order) else None
        parts = [scanned] if scanned else parse(lines.block()) if len(lines.order) else []
        out = [self._batch(lines, part, position) for part in parts]
        if lines.rejects:
            out = out or [self._batch(lines, _nothing(parse.wanted), position)]
            out[0].rejects.extend(lines.rejects)
        return out

    def _parser(self, block: Block) -> JsonLines:
        """Made from the first block: what it expects makes it faster, and changes no value."""
        if self.parser is None:
            rows = list(_sample(block))
            first = list(rows[0]) if rows else []
            types = [(name, _type_of([row.get(name) for row in rows])) for name in self.columns]
            keys = Keys.of(first, self.columns)
            parser = JsonLines(tuple(self.columns), keys, pa.schema(types), _MAX_LINE)
            if not rows:
                return parser
            self.parser = parser
        return self.parser

    def _batch(self, lines: ExampleLines, part: Parsed, position: Position) -> Batch:
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


def _after(place: tuple[str, int]) -> tuple[str, int]:
    return place[0], place[1] + 1


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
    known = pa.array(times / 1000 if form == "s" else times * _PER_MS[form])
    if column.null_count == len(column):
        return known
    if column.type != known.type:
        column, known = column.cast(pa.string()), known.cast(pa.string())
    return pc.if_else(pc.is_null(column), known, column)
