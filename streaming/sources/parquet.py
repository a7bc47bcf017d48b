"""Parquet: the wanted columns, in a few types, from any row on.

Integers become int64 (uint64 and whole decimals that do not fit: string), floats and other
decimals float64, dates and times timestamps, strings a dictionary where the file has one.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from features.batch import Reject
from features.errors import SourceError
from streaming.sources.block import Parsed
from streaming.sources.faults import check_columns, check_rows, empty

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["convert", "open_parquet", "row_as_json", "rows_from", "value_type"]

_T = pa.types
_READ_BUFFER = 1 << 16  # bytes of a column read at a time; without it, a whole row group's


def open_parquet(path: str, wanted: Sequence[str]) -> pq.ParquetFile:
    """Open a file and check that the wanted columns can be used; to be closed by the caller.

    Raises
    ------
    SourceError
        It is damaged or not Parquet, lacks a column, or has one of a type that is no value.
    """
    import pyarrow.parquet as pq  # and with it Arrow's file systems, and OpenSSL

    try:
        if not os.path.getsize(path):
            raise empty(path)
        plain = pq.read_schema(path)
        strings = [field.name for field in plain if _is_text(field.type)]
        check_columns(path, plain.names, wanted)
        for name in wanted:
            if value_type(kind := plain.field(name).type) is None:
                raise SourceError(
                    f"{path}: column {name!r} has the type {kind}, which is no value to learn "
                    "from. Fix: write it as text, number, bool, time or a list of these"
                )
        return pq.ParquetFile(
            path,
            read_dictionary=[name for name in wanted if name in strings],
            buffer_size=_READ_BUFFER,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def rows_from(
    file: pq.ParquetFile, path: str, wanted: Sequence[str], start: int, batch_rows: int
) -> Generator[tuple[int, pa.RecordBatch]]:
    """Yield (first row, columns) from row ``start`` on; row groups before it are not read.

    Raises
    ------
    SourceError
        The file is empty, shorter than ``start``, or damaged further on.
    """
    check_rows(file.metadata.num_rows, start, path)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    ends = np.cumsum(sizes, dtype=np.int64)
    group = int(np.searchsorted(ends, start, side="right"))
    row = int(ends[group - 1]) if group else 0
    groups = list(range(group, len(sizes)))
    try:
        for batch in file.iter_batches(batch_rows, row_groups=groups, columns=list(wanted)):
            skipped = min(max(start - row, 0), batch.num_rows)
            if skipped < batch.num_rows:
                yield row + skipped, batch.slice(skipped).select(list(wanted))
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error, f" after row {row}") from error


def convert(batch: pa.RecordBatch, file: str) -> Parsed:
    """Bring the columns to the types of a Batch; rows with invalid UTF-8 are rejects."""
    rows, rejects = np.arange(batch.num_rows), []
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        bad = _invalid_rows(batch)
        rejects = [_reject(batch, i, column, file) for i, column in bad.items()]
        rows = np.setdiff1d(rows, list(bad))
        batch = batch.take(pa.array(rows))
    columns = [_converted(column) for column in batch.columns]
    named = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    return Parsed(named, rows, len(rows) + len(rejects), rejects)


def row_as_json(batch: pa.RecordBatch, i: int) -> bytes:
    """Row i of the wanted columns as one JSON object."""
    return msgspec.json.encode({name: batch.column(name)[i].as_py() for name in batch.schema.names})


def _damaged(path: str, error: Exception, where: str = "") -> SourceError:
    reason = str(error).splitlines()[0]
    return SourceError(
        f"{path}: damaged{where}, or not Parquet ({reason}). Fix: get a whole copy of the file; "
        "if it is compressed as a whole, decompress it first"
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(_T.is_string(kind) or _T.is_large_string(kind) or kind == pa.string_view())


def value_type(kind: pa.DataType) -> pa.DataType | None:
    """The type a column of ``kind`` gets (int64 for what may not fit it), or None."""
    if _T.is_dictionary(kind):
        text = _is_text(kind.value_type)
        return pa.dictionary(pa.int32(), pa.string()) if text else value_type(kind.value_type)
    if _T.is_list(kind) or _T.is_large_list(kind) or _T.is_fixed_size_list(kind):
        return _list_target(kind.value_type)
    return _scalar_target(kind)


def _list_target(member: pa.DataType) -> pa.DataType | None:
    target = _scalar_target(member.value_type if _T.is_dictionary(member) else member)
    fits = not _may_not_fit(member)
    return target and pa.list_(target if fits else pa.string())


def _scalar_target(kind: pa.DataType) -> pa.DataType | None:
    if _is_text(kind):
        return pa.string()
    if _T.is_integer(kind) or _may_not_fit(kind):
        return pa.int64()
    if _T.is_floating(kind) or _T.is_decimal(kind):
        return pa.float64()
    if _T.is_date(kind):
        return pa.date32()  # its text is that of a date, as in every other format
    return kind if _T.is_boolean(kind) or _T.is_null(kind) or _T.is_timestamp(kind) else None


def _may_not_fit(kind: pa.DataType) -> bool:
    return bool(_T.is_uint64(kind) or (_T.is_decimal(kind) and kind.scale == 0))


def _converted(column: pa.Array) -> pa.Array:
    target = value_type(column.type)
    if column.type == target:
        return column
    if _T.is_dictionary(target):
        indices = column.indices.cast(pa.int32())
        return pa.DictionaryArray.from_arrays(indices, column.dictionary.cast(pa.string()))
    plain = column.dictionary_decode() if _T.is_dictionary(column.type) else column
    try:
        return plain.cast(target)
    except pa.ArrowInvalid:
        return plain.cast(pa.string())


def _invalid_rows(batch: pa.RecordBatch) -> dict[int, str]:
    """Rows with a value that is not UTF-8, and the first column it is in."""
    bad: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for i in range(batch.num_rows):
            try:
                column[i].as_py()
            except UnicodeDecodeError:
                bad.setdefault(i, name)
    return dict(sorted(bad.items()))


def _reject(batch: pa.RecordBatch, i: int, column: str, file: str) -> Reject:
    return Reject("invalid_utf8", f"column {column!r}", file, 0, _readable(batch.slice(i, 1)))


def _readable(row: pa.RecordBatch) -> bytes:
    """A row as JSON, what is not UTF-8 shown as a replacement mark."""
    texts: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            texts[name] = column[0].as_py()
        except UnicodeDecodeError:
            plain = column.dictionary_decode() if _T.is_dictionary(column.type) else column
            texts[name] = plain.view(pa.binary())[0].as_py().decode(errors="replace")
    return msgspec.json.encode(texts)
