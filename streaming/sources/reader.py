"""Opens a log: a file, a folder of files or standard input, as batches in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import BinaryIO, TypeVar

import msgspec
import pyarrow as pa

from features.batch import Batch, Position
from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources.block import Block, Parsed, to_batch, with_partitions
from streaming.sources.cutting import BlockLimits, from_row, read_blocks
from streaming.sources.delimited import DelimitedLayout, check_separator, open_delimited
from streaming.sources.faults import EmptySource
from streaming.sources.files import FilesRead, Listed, list_files
from streaming.sources.formats import (
    excel_separator,
    format_of,
    refuse_foreign,
)
from streaming.sources.json_lines import open_json_lines
from streaming.sources.parquet import convert, open_parquet, row_as_json, rows_from
from streaming.sources.sparse_text import SPARSE, SparseText
from streaming.sources.streams import (
    PEEKED,
    STDIN,
    peek,
    read_chunks,
    utf8_lines,
    without_runs_of_blanks,
)

__all__ = ["open_source", "ordered_map"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_CLOSE_WAIT_S = 2.0  # a read of an idle pipe cannot be interrupted; its thread is a daemon


def ordered_map(
    function: Callable[[_Item], _Result],
    items: Generator[_Item],
    *,
    workers: int,
    in_flight: int,
) -> Generator[_Result]:
    """Yield ``function(item)`` of every item, in order.

    A reader thread draws the items; ``workers`` threads call the function; at most ``in_flight``
    items are drawn and not yet done with by the caller. An error of either is raised in its turn.
    Closing the generator closes ``items`` and ends the threads.

    Examples
    --------
    >>> words = (word for word in ("a", "bc"))
    >>> list(ordered_map(len, words, workers=2, in_flight=2))
    [1, 2]
    """
    slots = threading.Semaphore(in_flight)
    stop = threading.Event()
    results: SimpleQueue[Future[_Result] | None] = SimpleQueue()
    with ThreadPoolExecutor(workers, thread_name_prefix="parse") as pool:

        def submit(item: _Item) -> Future[_Result]:
            return pool.submit(function, item)

        reader = threading.Thread(
            target=_feed, args=(items, submit, results, slots, stop), name="read", daemon=True
        )
        reader.start()
        try:
            while (future := results.get()) is not None:
                yield future.result()
                slots.release()
        finally:
            stop.set()
            slots.release()
            reader.join(_CLOSE_WAIT_S)


def _feed(
    items: Generator[_Item],
    submit: Callable[[_Item], Future[_Result]],
    results: SimpleQueue[Future[_Result] | None],
    slots: threading.Semaphore,
    stop: threading.Event,
) -> None:
    try:
        slots.acquire()
        for item in items:
            if stop.is_set():
                break
            results.put(submit(item))
            slots.acquire()
            if stop.is_set():
                break
        items.close()
    except BaseException as error:  # handed to the caller, who raises it
        failed: Future[_Result] = Future()
        failed.set_exception(error)
        results.put(failed)
    finally:
        results.put(None)


_WORKERS = max(1, min(4, len(os.sched_getaffinity(0))))


@dataclass(frozen=True, slots=True)
class _Job:
    """What every file of a read shares."""

    source: SourceSpec
    columns: tuple[str, ...]
    limits: BlockLimits
    workers: int
    stdin: BinaryIO | None


@dataclass(frozen=True, slots=True)
class _Share:
    """What is read of one file: from a row on; ``place`` is its beginning, with its marks."""

    file: Listed
    row: int
    place: Position


def open_source(
    path: str,
    source: SourceSpec,
    columns: Sequence[str],
    *,
    start: Position | None = None,
    block_bytes: int = BlockLimits.block_bytes,
    batch_rows: int = BlockLimits.batch_rows,
    max_line_bytes: int = BlockLimits.max_line_bytes,
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
        A file, a folder (all its data files in natural order, at any depth) or ``-`` for standard
        input. Compressions are told by their first bytes.
    source
        Format, separator and header of the log.
    columns
        Columns wanted, each once; batches have them in this order. CSV and TSV give strings
        (an empty value is an empty string), JSON Lines string, int64, float64, bool or lists of
        these (an absent key is null), Parquet these, dictionaries and timestamps.
    start
        Go on from there: rows before it are counted, not parsed, and Parquet row groups before
        it not read. Files that came late are read after its own.
    block_bytes, batch_rows, max_line_bytes
        Bounds of memory; see :class:`streaming.sources.cutting.BlockLimits`.
    workers
        Parsing threads.
    stdin
        What to read for ``-``; the process's standard input by default.

    Raises
    ------
    SourceError
        When a file is reached that cannot be read, is empty or damaged (after the rows before
        the damage), or lacks a wanted column; or ``start`` is in no file of ``path``,
        or a file is not the one that was read.

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
    limits = BlockLimits(block_bytes, batch_rows, max_line_bytes)
    job = _Job(source, tuple(columns), limits, workers, stdin)
    yield from _read_all(FilesRead(path, list_files(path, source.format), start), job)


def _read_all(files: FilesRead, job: _Job) -> Generator[Batch]:
    """Read files in order; empty ones count only if all are."""
    empties, rows = [], 0
    for file, row in files:
        place = files.position(file)
        position = msgspec.structs.replace(place, row=row)
        try:
            for batch in _read_file(_Share(file, row, place), job):
                position = batch.position
                yield batch
        except EmptySource as error:
            empties.append(error)
        rows += position.row
        files.done(position)
    if empties and not rows:
        raise empties[0]


def _read_file(share: _Share, job: _Job) -> Generator[Batch]:
    path = share.file.path
    own = tuple(name for name in job.columns if name not in share.file.partitions)
    with closing(read_chunks(path, job.limits.block_bytes, job.stdin)) as raw:
        head, chunks = peek(utf8_lines(raw), len, PEEKED)
        begin = b"".join(head)
        format: str = job.source.format
        refuse_foreign(begin, path)
        if format == "auto":
            format = format_of(begin, path, job.source.separator)
        if format != "parquet":
            yield from _read_text(share, job, format, begin, chunks, own)
            return
    if path == STDIN:
        raise SourceError("-: Parquet cannot be read from a pipe. Fix: give the file's path")
    yield from _read_parquet(share, own, job)


def _read_text(
    share: _Share,
    job: _Job,
    format: str,
    head: bytes,
    chunks: Iterator[bytes],
    columns: tuple[str, ...],
) -> Generator[Batch]:
    """Read the text of a file, of which ``head`` is the beginning, and ``chunks`` all."""
    path, source, longest = share.file.path, job.source, job.limits.max_line_bytes
    first_row, separator, excel = 0, "", ""
    if format in ("csv", "tsv"):
        excel = excel_separator(head)
        separator = source.separator or excel or ("\t" if format == "tsv" else ",")
        check_separator(separator, path)
        first_row = -int(source.header) - bool(excel)
        chunks = without_runs_of_blanks(chunks) if separator == " " else chunks
    quoted = separator if format == "csv" else ""
    blocks: Iterator[Block] = read_blocks(chunks, share.file.name, job.limits, first_row, quoted)
    parse: Callable[[Block], list[Parsed]]
    if format == "jsonl":
        parse, blocks = open_json_lines(blocks, path, columns, longest)
    elif format in SPARSE:
        parse = SparseText(format, columns, longest)
    else:
        blocks = from_row(blocks, first_row + 1, path) if excel else blocks
        layout = DelimitedLayout(separator, bool(quoted), source.header, source.columns)
        parse, blocks = open_delimited(blocks, path, layout, columns, longest)
    rows = from_row(blocks, share.row, path)
    yield from _parsed(rows, lambda block: _text_batches(block, parse, share, job), job)


def _text_batches(
    block: Block, parse: Callable[[Block], list[Parsed]], share: _Share, job: _Job
) -> list[Batch]:
    parts = (with_partitions(p, share.file.partitions, job.columns) for p in parse(block))
    return [to_batch(part, share.place, block.first_row, block.origin) for part in parts]


def _read_parquet(share: _Share, columns: tuple[str, ...], job: _Job) -> Generator[Batch]:
    path = share.file.path
    with open_parquet(path, columns) as opened:
        rows = rows_from(opened, path, columns, share.row, job.limits.batch_rows)
        yield from _parsed(rows, lambda item: _parquet_batch(item, share, job), job)


def _parquet_batch(item: tuple[int, pa.RecordBatch], share: _Share, job: _Job) -> list[Batch]:
    first_row, columns = item
    parsed = with_partitions(convert(columns, share.file.name), share.file.partitions, job.columns)
    return [to_batch(parsed, share.place, first_row, lambda i: (0, row_as_json(columns, i)))]


def _parsed(
    items: Generator[_Item], parse: Callable[[_Item], list[Batch]], job: _Job
) -> Generator[Batch]:
    batches = ordered_map(parse, items, workers=job.workers, in_flight=job.workers + 2)
    with closing(batches):
        for group in batches:
            yield from group
