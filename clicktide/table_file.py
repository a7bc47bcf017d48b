"""Rows written to a file: CSV, JSON Lines or Parquet, there whole at the end or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features.errors import ClicktideError
from features.values import as_text, text_column
from features.whole_file import refuse_existing, whole_file

__all__ = ["COMPRESSED", "FORMATS", "STDOUT", "Write", "check_out", "json_rows", "table_writer"]

STDOUT = "-"
FORMATS = (".csv", ".jsonl", ".parquet")
"""What the name of a file of rows may end in."""
COMPRESSED = (".gz", ".zst")
"""What may follow the name of a text file, to compress it."""
_GZIP_LEVEL = 1  # the default of 9 takes seven times as long for files a third smaller
Write = Callable[[pa.RecordBatch], None]
_encode = msgspec.json.Encoder(enc_hook=str).encode


def check_out(out: Path, log: str, *, force: bool) -> None:
    """Refuse a file that cannot or must not be written, before any work is done for it.

    Raises
    ------
    ClicktideError
        Its ending is none of ``.csv``, ``.jsonl`` and ``.parquet``, it is a folder or the log
        itself, or it exists and ``force`` is not given.
    """
    if str(out) == STDOUT:
        return
    if out.suffix not in FORMATS:
        raise ClicktideError(
            f"{out}: what format is this? Fix: end the name in {', '.join(FORMATS[:-1])} or "
            f"{FORMATS[-1]}"
        )
    if out.is_dir():
        raise ClicktideError(f"{out}: this is a folder. Fix: name a file in it")
    if out.exists() and os.path.exists(log) and out.samefile(log):
        raise ClicktideError(f"{out}: this is the log itself. Fix: name another file")
    if not force:
        refuse_existing(out)


def json_rows(rows: pa.RecordBatch) -> bytes:
    """Write each row as a JSON object; a missing value, or a number that is none, is null."""
    return b"".join(_encode(row) + b"\n" for row in rows.to_pylist())


@contextmanager
def table_writer(
    out: Path,
    names: Sequence[str],
    separators: Mapping[str, str] | None = None,
    encode: Callable[[pa.RecordBatch], bytes] = json_rows,
) -> Iterator[Write]:
    r"""Write batches; the file appears at the end, complete, or not at all.

    Parameters
    ----------
    out
        A file whose name ends in ``.csv``, ``.jsonl`` (also with ``.gz`` or ``.zst`` after it) or
        ``.parquet``, or ``-`` for CSV on standard output.
    names
        Columns of every batch.
    separators
        In CSV, what stands between the members of a list, by column; ``|`` by default.
    encode
        Writes rows as JSON Lines.

    Raises
    ------
    ClicktideError
        It cannot be written; what stood there before still does.

    Examples
    --------
    >>> rows = pa.record_batch({"row": [1, 2], "probability": [0.5, 0.1], "tags": [["a", "b"], []]})
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     out = Path(folder) / "scored.csv"
    ...     with table_writer(out, rows.schema.names) as write:
    ...         write(rows)
    ...     out.read_text()
    'row,probability,tags\n1,0.5,a|b\n2,0.1,\n'
    """
    if str(out) == STDOUT:
        yield _csv(sys.stdout.buffer, names, separators or {})
        sys.stdout.buffer.flush()
        return
    kind = Path(out.stem).suffix if out.suffix in COMPRESSED else out.suffix
    with whole_file(out) as raw, _compressed(raw, out.suffix) as file:
        if kind == ".csv":
            yield _csv(file, names, separators or {})
        elif kind == ".jsonl":
            yield _json(file, encode)
        else:
            with closing(_Parquet(file, names)) as parquet:
                yield parquet.write


def _compressed(raw: BinaryIO, suffix: str) -> AbstractContextManager[Any]:
    if suffix == ".gz":
        # No time and no name inside: the same rows give the same bytes.
        return gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0)
    if suffix == ".zst":
        return pa.CompressedOutputStream(raw, "zstd")  # type: ignore[no-any-return]
    return nullcontext(raw)


class _Parquet:
    """Takes its types from the first batch: those of a log are known when it is read."""

    def __init__(self, file: BinaryIO, names: Sequence[str]) -> None:
        self._file, self._names = file, names
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, rows.schema, compression="zstd")
        columns = [
            self._as(column, field)
            for column, field in zip(rows.columns, self._writer.schema, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._writer.schema))

    def _as(self, column: pa.Array, field: pa.Field) -> pa.Array:
        try:
            return column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ClicktideError(
                f"column {field.name!r}: it is {field.type} in the log's first rows and "
                f"{column.type} later. Fix: write CSV or JSON Lines, or do not --keep it"
            ) from error

    def close(self) -> None:
        if self._writer is None:
            empty = pa.schema([(name, pa.null()) for name in self._names])
            self._writer = pq.ParquetWriter(self._file, empty)
        self._writer.close()


def _json(file: BinaryIO, encode: Callable[[pa.RecordBatch], bytes]) -> Write:
    def write(rows: pa.RecordBatch) -> None:
        file.write(encode(rows))
        file.flush()  # a disk that is full is known before the file takes its place

    return write


def _csv(file: BinaryIO, names: Sequence[str], separators: Mapping[str, str]) -> Write:
    """Write the header; return what writes rows. Numbers read back to the same bits."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(names)
    file.write(header.getvalue().encode())

    def write(rows: pa.RecordBatch) -> None:
        columns = [
            _flat(column, separators.get(name, "|"))
            for name, column in zip(rows.schema.names, rows.columns, strict=True)
        ]
        style = "needed" if any(map(_needs_quotes, columns)) else "none"
        sink = pa.BufferOutputStream()
        options = pa_csv.WriteOptions(include_header=False, quoting_style=style)
        pa_csv.write_csv(pa.record_batch(columns, names=rows.schema.names), sink, options)
        file.write(sink.getvalue())

    return write


def _flat(column: pa.Array, separator: str) -> pa.Array:
    """A column of scalars; what Arrow cannot write as CSV becomes the text of a category."""
    kind = column.type
    if pa.types.is_nested(kind):
        texts = (_joined(value, separator) for value in column.to_pylist())
        return pa.array(list(texts), pa.string())
    if pa.types.is_floating(kind):  # NaN is missing
        return pc.if_else(pc.is_nan(column), None, column)
    simple = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind)
    return column if simple or pa.types.is_temporal(kind) else text_column(column)


def _joined(value: Any, separator: str) -> str | None:
    if value is None or not isinstance(value, list):
        return None if value is None else _encode(value).decode()
    return separator.join(map(as_text, value))


def _needs_quotes(column: pa.Array) -> bool:
    """Whether a text is not plain; then Arrow quotes them all."""
    if not pa.types.is_string(column.type):
        return False
    return bool(pc.any(pc.match_substring_regex(column, '[",\r\n]')).as_py())
