"""From records of the examples topic to batches of rows, as a source of a log yields them.

A record's value holds one or many example events, a line each. The fields of their impressions,
put under each other, *are* JSON Lines: they go through the very parser that ``replay`` uses, so
a value has the same bits here as there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch import Batch, Position, Reject
from features.errors import SourceError
from features.spec import SourceSpec, Spec
from streaming.example_lines import ExampleLines
from streaming.example_places import LINE_BITS, Place, lines_of, lines_of_records
from streaming.log import EventLog, OffsetError, TopicPartition, open_log
from streaming.prepare import CORRECTION, ONE_IN, SERVED
from streaming.settings import EARLY_EXAMPLES, EXAMPLES
from streaming.sources.block import Block, Parsed
from streaming.sources.cutting import BlockLimits, from_row, read_blocks
from streaming.sources.json_lines import JsonLines, json_lines_of
from streaming.sources.streams import read_chunks, utf8_lines

__all__ = [
    "CLICK_DELAY",
    "EXAMPLES_PREFIXES",
    "LINE_BITS",
    "PREDICTION",
    "PREDICTION_COLUMNS",
    "ExampleReader",
    "Place",
    "examples_source",
    "lines_of",
    "lines_of_records",
    "open_examples",
]

I64 = NDArray[np.int64]
_SAMPLE = 64
_MAX_LINE = 1 << 20
CLICK_DELAY = "\0click_delay"
"""Column of milliseconds from the impression to its click, for counters."""
PREDICTION = "\0prediction"
"""Asks for what an example tells of its prediction, in :data:`PREDICTION_COLUMNS`."""
PREDICTION_COLUMNS = ("\0time", "\0clicked", "\0probability", "\0model")
"""Times in ms, 0: no click; pCTR and model version as served, null: none."""
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
        own = (source.label, CLICK_DELAY, PREDICTION)
        self.columns = [name for name in columns if name not in own]
        self._delays, self._predictions = CLICK_DELAY in columns, PREDICTION in columns
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
        lines = ExampleLines.of(data, place, self.parser.keys if self.parser else None)
        if self.by_time:
            lines.sort()
        times = lines.timestamp[lines.order]
        self.latest_ms = max(self.latest_ms, int(times.max(initial=0)))
        parser = self._parser(lines)
        parts: list[Parsed] = []
        if len(lines.order):
            scanned = parser.scanned(lines.fields(), lines.members())
            parts = [scanned] if scanned else parser(lines.fields(apart=True))
        out = [self._batch(lines, part, position) for part in parts]
        if lines.rejects:
            out = out or [self._batch(lines, _nothing(parser.wanted), position)]
            out[0].rejects.extend(lines.rejects)
        return out

    def _parser(self, lines: ExampleLines) -> JsonLines:
        """Made from the first lines: what it expects makes it faster, and changes no value."""
        if self.parser is None:
            rows = list(_sample(lines.fields()))
            parser = json_lines_of(rows, self.columns, _MAX_LINE)
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
        if (lines.one_in[rows] > 1).any():
            columns[ONE_IN] = pa.array(lines.one_in[rows])
        if self._delays:
            columns[CLICK_DELAY] = pa.array(lines.click_delays(rows))
        if self._predictions:
            columns |= dict(zip(PREDICTION_COLUMNS, lines.predictions(rows), strict=True))
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


EXAMPLES_PREFIXES = f"{EXAMPLES}:", f"{EARLY_EXAMPLES}:"
"""Beginnings of a name that means the examples of an event log: of the join window, or early."""
_RECORDS = 100
_FILES = (".jsonl", ".ndjson", ".json", ".gz", ".zst")


def open_examples(
    name: str, source: SourceSpec, columns: Sequence[str], start: Position | None = None
) -> Generator[Batch]:
    """Batches of example events from a position on.

    Parameters
    ----------
    name
        ``examples:`` or ``early_examples:``, the topic, and the URL of an event log, or a JSON
        Lines file (``.jsonl``, plain or compressed). A log is read to its present end, partition
        after partition.
    source, columns
        As for :class:`streaming.examples.ExampleReader`.
    start
        Where to go on.

    Raises
    ------
    SourceError
        There is no such file or log, or it no longer has what was to be read next.
    """
    topic, _, what = name.partition(":")
    reader = ExampleReader(source, columns)
    if what.endswith(_FILES):
        yield from _file(what, reader, start.row if start else 0)
        return
    if "://" not in what and not Path(what).exists():
        raise SourceError(f"{name}: there is no event log {what}. Fix: give its URL or its file")
    with open_log(what) as log:
        if topic not in log.topics():
            raise SourceError(
                f"{name}: the log has no topic {topic!r}. Fix: run `clicktide join` on it first"
            )
        yield from _log(log, topic, reader, start)


def _file(path: str, reader: ExampleReader, row: int) -> Generator[Batch]:
    chunks = utf8_lines(read_chunks(path, 1 << 22))
    for block in from_row(read_blocks(chunks, path, BlockLimits(1 << 22), 0), row, path):
        first = block.first_row
        yield from reader.batches(
            block.data,
            lambda i, first=first: (path, first + i),  # type: ignore[misc]
            Position(path, first + block.rows),
        )


def _log(
    log: EventLog, topic: str, reader: ExampleReader, start: Position | None
) -> Generator[Batch]:
    first = int(start.file.rpartition("-")[2]) if start else 0
    for partition, begin in enumerate(log.start_offsets(topic)):
        if partition < first:
            continue
        at = TopicPartition(topic, partition)
        offset, skip = begin, 0
        if start and partition == first:
            offset, skip = start.row >> LINE_BITS, start.row & ((1 << LINE_BITS) - 1)
        yield from _partition(log, reader, at, offset, skip)


def _partition(
    log: EventLog, reader: ExampleReader, at: TopicPartition, offset: int, skip: int
) -> Generator[Batch]:
    """Examples of one partition to its end, without the first lines of the first record."""
    while True:
        try:
            values = log.read_values(at, offset, _RECORDS)
        except OffsetError as error:
            raise SourceError(f"{at.topic}-{at.partition}: {error}") from error
        if not len(values.offsets):
            return
        offset = values.next_offset
        data, place = lines_of([values])
        if skip:
            data = b"\n".join([line for line in data.split(b"\n") if line.strip(b"\r")][skip:])
        yield from reader.batches(
            data,
            lambda i, place=place, skip=skip: place(i + skip),  # type: ignore[misc]
            Position(f"{at.topic}-{at.partition}", offset << LINE_BITS),
        )
        skip = 0
