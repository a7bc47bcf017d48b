"""Opens a log: a file, a folder of files or standard input, as batches in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import pyarrow as pa

from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources.batch import Batch, Position
from streaming.sources.block import Block
from streaming.sources.cutting import Limits, from_row, read_blocks
from streaming.sources.delimited import open_delimited
from streaming.sources.faults import EmptySource
from streaming.sources.json_lines import open_json_lines
from streaming.sources.listing import (
    Listed,
    format_by_content,
    format_by_name,
    list_files,
    refuse_json_array,
)
from streaming.sources.ordered import ordered_map
from streaming.sources.parquet import convert, open_parquet, row_as_json, rows_from
from streaming.sources.parsed import Parsed, to_batch
from streaming.sources.streams import STDIN, peek, read_chunks, without_bom

__all__ = ["open_source"]

_Item = TypeVar("_Item")
_PEEKED = 1 << 16  # bytes that tell the format
_WORKERS = max(1, min(4, len(os.sched_getaffinity(0))))


@dataclass(frozen=True, slots=True)
class _Job:
    """What every file of a read shares."""

    source: SourceSpec
    columns: tuple[str, ...]
    limits: Limits
    workers: int
    stdin: BinaryIO | None


def open_source(
    path: str,
    source: SourceSpec,
    columns: Sequence[str],
    *,
    start: Position | None = None,
    block_bytes: int = Limits.block_bytes,
    batch_rows: int = Limits.batch_rows,
    max_line_bytes: int = Limits.max_line_bytes,
    workers: int = _WORKERS,
    stdin: BinaryIO | None = None,
) -> Generator[Batch]:
    r"""Read a click log in bounded memory, in order, bad rows as rejects.

    Text is parsed in blocks by a few threads; a block in which anything is odd is parsed line
    by line, to the same values. A blank line is no row. In a folder, files without rows are
    skipped. Close the generator to end its threads early.

    Parameters
    ----------
    path
        A file, a folder (all its data files by name, at any depth) or ``-`` for standard input.
        Gzip and zstd are told by their first bytes.
    source
        Format, separator and header of the log.
    columns
        Columns wanted, each once; batches have them in this order. CSV and TSV give strings
        (an empty value is an empty string), JSON Lines string, int64, float64, bool or lists of
        these (an absent key is null), Parquet these, dictionaries and timestamps.
    start
        Go on from there: rows before it are counted, not parsed, and Parquet row groups before
        it not read.
    block_bytes, batch_rows, max_line_bytes
        Bounds of memory; see :class:`streaming.sources.cutting.Limits`.
    workers
        Parsing threads.
    stdin
        What to read for ``-``; the process's standard input by default.

    Raises
    ------
    SourceError
        When a file is reached that cannot be read, is empty or damaged (after the rows before
        the damage), or lacks a wanted column; or ``start`` is in no file of ``path``.

    Examples
    --------
    >>> import io
    >>> log = io.BytesIO(b"click,ad\n1,a\nbroken\n0,b\n")
    >>> spec = SourceSpec(label="click", format="csv")
    >>> [batch] = open_source("-", spec, ["ad", "click"], stdin=log)
    >>> batch.columns.to_pydict()
    {'ad': ['a', 'b'], 'click': ['1', '0']}
    >>> batch.origin(1), batch.positions(0), batch.rejects[0].reason
    ((4, b'0,b'), Position(file='-', row=1), 'row_too_short')
    """
    limits = Limits(block_bytes, batch_rows, max_line_bytes)
    job = _Job(source, tuple(columns), limits, workers, stdin)
    files = list_files(path, source.format)
    begin = start if start and start.file else Position(files[0].name)
    names = [file.name for file in files]
    if begin.file not in names:
        raise SourceError(
            f"{path}: cannot go on from {begin.file!r}, which is not among its files. "
            "Fix: give the log that was being read, or start from the beginning"
        )
    files = files[names.index(begin.file) :]
    yield from _read_all(files, begin.row, job)


def _read_all(files: list[Listed], row: int, job: _Job) -> Generator[Batch]:
    """Read files in order, the first one from ``row``; empty ones count only if all are."""
    empties = []
    for file in files:
        try:
            yield from _read_file(file, row, job)
        except EmptySource as error:
            empties.append(error)
        row = 0
    if len(empties) == len(files):
        raise empties[0]


def _read_file(file: Listed, row: int, job: _Job) -> Generator[Batch]:
    with closing(read_chunks(file.path, job.limits.block_bytes, job.stdin)) as raw:
        head, chunks = peek(without_bom(raw), len, _PEEKED)
        format = _format_of(file, job.source, b"".join(head))
        if format != "parquet":
            yield from _read_text(file, format, chunks, row, job)
            return
    if file.path == STDIN:
        raise SourceError("-: Parquet cannot be read from a pipe. Fix: give the file's path")
    yield from _read_parquet(file, row, job)


def _format_of(file: Listed, source: SourceSpec, head: bytes) -> str:
    if source.format != "auto":
        return source.format
    named = format_by_name(file.path)
    if named == "jsonl":
        refuse_json_array(head, file.path)
    return named or format_by_content(head, file.path, source.separator)


def _read_text(
    file: Listed, format: str, chunks: Iterator[bytes], row: int, job: _Job
) -> Generator[Batch]:
    header = job.source.header and format != "jsonl"
    blocks: Iterator[Block] = read_blocks(chunks, file.name, job.limits, -1 if header else 0)
    parse: Callable[[Block], list[Parsed]]
    longest = job.limits.max_line_bytes
    if format == "jsonl":
        parse, blocks = open_json_lines(blocks, file.path, job.columns, longest)
    else:
        parse, blocks = open_delimited(blocks, file.path, job.source, format, job.columns, longest)
    rows = from_row(blocks, row, file.path)
    yield from _parsed(rows, lambda block: _text_batches(block, parse), job)


def _text_batches(block: Block, parse: Callable[[Block], list[Parsed]]) -> list[Batch]:
    return [to_batch(part, block.file, block.first_row, block.origin) for part in parse(block)]


def _read_parquet(file: Listed, row: int, job: _Job) -> Generator[Batch]:
    with open_parquet(file.path, job.columns) as opened:
        rows = rows_from(opened, file.path, job.columns, row, job.limits.batch_rows)
        yield from _parsed(rows, lambda item: _parquet_batch(item, file.name), job)


def _parquet_batch(item: tuple[int, pa.RecordBatch], file: str) -> list[Batch]:
    first_row, columns = item
    parsed = convert(columns, file)
    return [to_batch(parsed, file, first_row, lambda i: (0, row_as_json(columns, i)))]


def _parsed(
    items: Generator[_Item], parse: Callable[[_Item], list[Batch]], job: _Job
) -> Generator[Batch]:
    batches = ordered_map(parse, items, workers=job.workers, in_flight=job.workers + 2)
    with closing(batches):
        for group in batches:
            yield from group
