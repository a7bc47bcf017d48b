"""Rows from all over a log nobody has described yet, to write a first spec from."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from features.batch import Position, Reject
from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources.compression import MAGIC_BYTES, compression_of
from streaming.sources.faults import Damage, EmptySource, empty
from streaming.sources.files import Listed, list_files
from streaming.sources.formats import FileHead, head_of
from streaming.sources.json_columns import LISTS, NESTED, joined, json_columns
from streaming.sources.parquet import open_parquet, value_type
from streaming.sources.reader import open_source
from streaming.sources.sparse_text import SPARSE, parse_sparse, sparse_columns
from streaming.sources.streams import STDIN, peek, read_chunks, utf8_lines

__all__ = ["SAMPLE_ROWS", "Sample", "sample_log"]

SAMPLE_ROWS = 200_000
_MOST_BYTES = 48 << 20
_MOST_READ = 1 << 29  # bytes of a stream, which cannot be skipped
_MOST_CELLS = 20_000_000
_MOST_FILES = 8
_PIECES = 32
_LEAST_PIECE = 1 << 12
_HEAD_BYTES = 1 << 18
_LINES = 10_000  # decoded at a time


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of a log, in its order.

    Parameters
    ----------
    head
        What the log looks like.
    rows
        The columns that can be learned from, in the types that :func:`open_source` gives.
    unusable
        The other columns, and why.
    """

    head: FileHead
    rows: pa.Table
    unusable: Mapping[str, str]


def sample_log(path: str, rows: int = SAMPLE_ROWS, *, stdin: BinaryIO | None = None) -> Sample:
    r"""Read rows from all over a log, in bounded time and memory.

    Raises
    ------
    SourceError
        It cannot be read, is empty, its format cannot be told, or its header does not fit.

    Examples
    --------
    >>> sample = sample_log("-", stdin=io.BytesIO(b"click;ad;ad\n1;a;x\n0;b;y\n"))
    >>> sample.rows.to_pydict(), sample.unusable
    ({'click': ['1', '0']}, {'ad': 'two columns have this name'})
    """
    files = list_files(path, "auto")
    some = files[:: -(-len(files) // _MOST_FILES)]
    parts: list[pa.Table] = []
    heads: list[FileHead] = []
    unusable: dict[str, str] = {}
    error: EmptySource | None = None
    for file in some:
        try:
            part = _file_sample(file, rows // len(some), stdin)
        except EmptySource as met:
            error = met
            continue
        heads.append(part.head)
        parts.append(part.rows)
        unusable |= part.unusable
    if not parts:
        raise error or empty(path)
    names = [name for name in dict.fromkeys(n for p in parts for n in p.column_names)]
    columns = {
        name: joined([chunk for part in parts for chunk in _column(part, name).chunks])
        for name in names
        if name not in unusable
    }
    return Sample(heads[0], pa.table(columns), unusable)


def _column(part: pa.Table, name: str) -> pa.ChunkedArray:
    if name in part.column_names:
        return part.column(name)
    return pa.chunked_array([pa.nulls(part.num_rows)])


def _file_sample(file: Listed, rows: int, stdin: BinaryIO | None) -> Sample:
    if _is_parquet(file.path):
        sample = _parquet_sample(file.path, rows)
    else:
        sample = _text_sample(file.path, rows, stdin)
    table = sample.rows
    for name, value in file.partitions.items():  # they stand before a column of the file
        constant = pa.array([value] * table.num_rows, pa.string())
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, constant)
    return Sample(sample.head, table, sample.unusable)


def _is_parquet(path: str) -> bool:
    if path == STDIN or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


# Parquet


def _parquet_sample(path: str, rows: int) -> Sample:
    """Stretches of rows, evenly spread."""
    with open_parquet(path, []) as opened:
        schema, count = opened.schema_arrow, opened.metadata.num_rows
    unusable = _doubled(schema.names) | {
        field.name: _why_not(field.type) for field in schema if value_type(field.type) is None
    }
    names = [name for name in schema.names if name not in unusable]
    source = SourceSpec(label="", format="parquet")
    rows = max(min(rows, _MOST_CELLS // max(len(names), 1)), 1)
    pieces = _PIECES if count > rows else 1
    batches: list[pa.RecordBatch] = []
    for piece in range(pieces):
        start = Position(path, piece * count // pieces)
        most = min(-(-rows // pieces), 65_536)
        with closing(open_source(path, source, names, start=start, batch_rows=most)) as read:
            batches += _first_rows(read, -(-rows // pieces))
    return Sample(FileHead("parquet"), _table(batches, names), unusable)


def _first_rows(batches: Iterator[Any], rows: int) -> Generator[pa.RecordBatch]:
    for batch in batches:
        yield batch.columns.slice(0, rows)
        rows -= batch.columns.num_rows
        if rows <= 0:
            return


def _why_not(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return NESTED
    if pa.types.is_nested(kind):
        return LISTS
    return f"its type {kind} cannot be read; write it as text or as a number"


def _doubled(names: Sequence[str]) -> dict[str, str]:
    counts = {name: list(names).count(name) for name in names}
    reasons = {
        name: f"{'two' if count == 2 else count} columns have this name"
        for name, count in counts.items()
        if count > 1
    }
    return reasons | ({"": "it has no name"} if "" in counts else {})


# Text


def _text_sample(file: str, rows: int, stdin: BinaryIO | None) -> Sample:
    with closing(read_chunks(file, 1 << 16, stdin)) as raw:
        first, chunks = peek(utf8_lines(raw), len, _HEAD_BYTES)
        head = head_of(b"".join(first), file)
        wanted = max(min(int(rows * head.row_bytes), _MOST_BYTES), 1)
        size = os.path.getsize(file) if file != STDIN else 0
        if size > wanted and _is_plain(file):
            pieces = _spread(file, size, wanted)
        else:
            pieces = _thinned(_whole_lines(chunks, max(wanted // (2 * _PIECES), _LEAST_PIECE)))
    if head.format == "jsonl":
        return Sample(head, *json_columns(pieces))
    return _column_sample(pieces, head, file)


def _is_plain(path: str) -> bool:
    """Whether the bytes of a file are lines of UTF-8."""
    with open(path, "rb") as file:
        begin = file.read(_HEAD_BYTES)
    packed = compression_of(begin[:MAGIC_BYTES]) or begin.startswith(b"\xef\xbb\xbf")
    return not packed and b"\0" not in begin and b"\n" in begin


def _spread(path: str, size: int, wanted: int) -> list[bytes]:
    """Whole lines from evenly spread places of a file."""
    length = max(wanted // _PIECES, _LEAST_PIECE)
    count = max(min(_PIECES, size // length), 1)
    pieces = []
    with open(path, "rb") as file:
        for i in range(count):
            start = i * (size - length) // max(count - 1, 1)
            file.seek(start)
            text = file.read(length)
            begin = text.find(b"\n") + 1 if start else 0
            end = len(text) if start + len(text) >= size else text.rfind(b"\n") + 1
            pieces.append(text[begin:end])
    return pieces


def _whole_lines(chunks: Iterable[bytes], length: int) -> Generator[bytes]:
    """Regroup a text into whole lines of about so many bytes; damage is its end."""
    data = b""
    with suppress(Damage):
        for chunk in chunks:
            data, at = data + chunk, 0
            while len(data) - at >= length and (end := data.find(b"\n", at + length - 1) + 1):
                yield data[at:end]
                at = end
            data = data[at:]
            if len(data) > _MOST_BYTES:
                return
    if data:
        yield data


def _thinned(pieces: Iterable[bytes]) -> list[bytes]:
    """Evenly spread pieces of a stream, as far as it is read; all of them if they are few."""
    some: list[bytes] = []
    step, read = 1, 0
    for i, piece in enumerate(pieces):
        if i % step == 0:
            some.append(piece)
        if len(some) > 2 * _PIECES:
            some, step = some[::2], 2 * step
        read += len(piece)
        if read > _MOST_READ:
            break
    return some


def _column_sample(pieces: Sequence[bytes], head: FileHead, file: str) -> Sample:
    """Rows of CSV, TSV and the formats of sparse learners, by their own readers."""
    source = SourceSpec(label="", format=head.format)  # type: ignore[arg-type]
    unusable: dict[str, str] = {}
    if head.format in SPARSE:
        names = sparse_columns(list(_sparse_rows(pieces, head.format)), head.format)
        if "importance" in names:
            head = replace(head, keys={"weight": "importance"})
    else:
        unusable = _doubled(head.columns)
        names = [name for name in head.columns if name not in unusable]
        layout = {"separator": head.separator, "header": False, "columns": head.columns}
        source = msgspec.structs.replace(source, **layout)
    first, *others = pieces
    first = first.split(b"\n", head.skipped_lines)[-1] if head.skipped_lines else first
    rejects: list[Reject] = []
    batches = [b for piece in (first, *others) for b in _batches(piece, source, names, rejects)]
    if not batches and rejects:
        raise SourceError(
            f"{file}: none of the rows looked at can be read: {rejects[0].reason}: "
            f"{rejects[0].detail}. Fix: look whether it is {head.format}, and UTF-8"
        )
    if not batches:
        raise empty(file)
    return Sample(head, _table(batches, names), unusable)


def _batches(
    piece: bytes, source: SourceSpec, names: Sequence[str], rejects: list[Reject]
) -> list[pa.RecordBatch]:
    """Columns of a piece; none where much of it cannot be read, as if it was cut within a quote."""
    if not piece.strip():
        return []
    with closing(open_source(STDIN, source, names, stdin=io.BytesIO(piece))) as read:
        batches = list(read)
    bad = [reject for batch in batches for reject in batch.rejects]
    rejects += bad
    rows = sum(batch.columns.num_rows for batch in batches)
    return (
        [batch.columns for batch in batches if batch.columns.num_rows] if len(bad) <= rows else []
    )


def _table(batches: Sequence[pa.RecordBatch], names: Sequence[str]) -> pa.Table:
    return pa.table({name: joined([b.column(name) for b in batches]) for name in names})


def _sparse_rows(pieces: Sequence[bytes], format: str) -> Generator[dict[str, Any]]:
    lines = (line for piece in pieces for line in piece.split(b"\n")[: _LINES // len(pieces) + 1])
    for line in lines:
        with suppress(ValueError):
            if line.strip():
                yield parse_sparse(line.decode(), format)
