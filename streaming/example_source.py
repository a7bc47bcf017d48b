"""The examples of an event log, or of a file of example events, as a source to replay."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from features.batch import Batch, Position
from features.errors import SourceError
from features.spec import SourceSpec
from streaming.examples import LINE_BITS, ExampleReader, lines_of
from streaming.log import EventLog, OffsetError, TopicPartition, open_log
from streaming.settings import EXAMPLES
from streaming.sources.cutting import Limits, from_row, read_blocks
from streaming.sources.streams import read_chunks, utf8_lines

__all__ = ["EXAMPLES_PREFIX", "open_examples"]

EXAMPLES_PREFIX = "examples:"
_RECORDS = 100
_FILES = (".jsonl", ".ndjson", ".json", ".gz", ".zst")


def open_examples(
    name: str, source: SourceSpec, columns: Sequence[str], start: Position | None = None
) -> Generator[Batch]:
    """Batches of example events from a position on.

    Parameters
    ----------
    name
        ``examples:`` and the URL of an event log, or a JSON Lines file (``.jsonl``, plain or
        compressed). A log is read to its present end, partition after partition.
    source, columns
        As for :class:`streaming.examples.ExampleReader`.
    start
        Where to go on.

    Raises
    ------
    SourceError
        There is no such file or log, or it no longer has what was to be read next.
    """
    what = name.removeprefix(EXAMPLES_PREFIX)
    reader = ExampleReader(source, columns)
    if what.endswith(_FILES):
        yield from _file(what, reader, start.row if start else 0)
        return
    if "://" not in what and not Path(what).exists():
        raise SourceError(f"{name}: there is no event log {what}. Fix: give its URL or its file")
    with open_log(what) as log:
        if EXAMPLES not in log.topics():
            raise SourceError(
                f"{name}: the log has no topic {EXAMPLES!r}. Fix: run `clicktide join` on it first"
            )
        yield from _log(log, reader, start)


def _file(path: str, reader: ExampleReader, row: int) -> Generator[Batch]:
    chunks = utf8_lines(read_chunks(path, 1 << 22))
    for block in from_row(read_blocks(chunks, path, Limits(1 << 22), 0), row, path):
        first = block.first_row
        yield from reader.batches(
            block.data,
            lambda i, first=first: (path, first + i),  # type: ignore[misc]
            Position(path, first + block.rows),
        )


def _log(log: EventLog, reader: ExampleReader, start: Position | None) -> Generator[Batch]:
    first = int(start.file.rpartition("-")[2]) if start else 0
    for partition, begin in enumerate(log.start_offsets(EXAMPLES)):
        if partition < first:
            continue
        at = TopicPartition(EXAMPLES, partition)
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
            raise SourceError(f"{EXAMPLES}-{at.partition}: {error}") from error
        if not len(values.offsets):
            return
        offset = values.next_offset
        data, place = lines_of([values])
        if skip:
            data = b"\n".join([line for line in data.split(b"\n") if line.strip(b"\r")][skip:])
        yield from reader.batches(
            data,
            lambda i, place=place, skip=skip: place(i + skip),  # type: ignore[misc]
            Position(f"{EXAMPLES}-{at.partition}", offset << LINE_BITS),
        )
        skip = 0
