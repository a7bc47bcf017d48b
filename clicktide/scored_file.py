"""The file of scored events: CSV or Parquet, there whole at the end or not at all."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features.errors import ClicktideError

__all__ = ["STDOUT", "Write", "check_out", "written"]

STDOUT = "-"
Write = Callable[[pa.RecordBatch], None]


def check_out(out: Path, log: str, *, force: bool) -> None:
    """Refuse a file that cannot or must not be written, before any work is done for it.

    Raises
    ------
    ClicktideError
        Its ending is neither ``.csv`` nor ``.parquet``, it is a folder or the log itself, or
        it exists and ``force`` is not given.
    """
    if str(out) == STDOUT:
        return
    if out.suffix not in (".csv", ".parquet"):
        raise ClicktideError(f"{out}: what format is this? Fix: end the name in .csv or .parquet")
    if out.is_dir():
        raise ClicktideError(f"{out}: this is a folder. Fix: name a file in it")
    if out.exists() and os.path.exists(log) and out.samefile(log):
        raise ClicktideError(f"{out}: this is the log itself. Fix: name another file")
    if out.exists() and not force:
        raise ClicktideError(f"{out}: exists already. Fix: --force replaces it")


@contextmanager
def written(out: Path, schema: pa.Schema) -> Iterator[Write]:
    r"""Write batches; the file appears at the end, complete, or not at all.

    Parameters
    ----------
    out
        A file whose name ends in ``.csv`` or ``.parquet``, or ``-`` for CSV on standard output.
    schema
        Of every batch.

    Raises
    ------
    ClicktideError
        It cannot be written; what stood there before still does.

    Examples
    --------
    >>> rows = pa.record_batch({"row": [1, 2], "probability": [0.5, 0.1]})
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     out = Path(folder) / "scored.csv"
    ...     with written(out, rows.schema) as write:
    ...         write(rows)
    ...     out.read_text()
    'row,probability\n1,0.5\n2,0.1\n'
    """
    if str(out) == STDOUT:
        yield _csv(sys.stdout.buffer, schema)
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            if out.suffix == ".csv":
                yield _csv(file, schema)
            else:
                with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                    yield writer.write_batch
        partial.replace(out)
    except OSError as error:
        raise ClicktideError(
            f"{out}: cannot be written: {error.strerror or error}. "
            "Fix: choose a folder that can be written to and has room"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _csv(file: BinaryIO, schema: pa.Schema) -> Write:
    """Write the header; return what writes rows. Probabilities read back to the same bits."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(schema.names)
    file.write(header.getvalue().encode())

    def write(rows: pa.RecordBatch) -> None:
        style = "needed" if _needs_quotes(rows.column(0)) else "none"
        sink = pa.BufferOutputStream()
        options = pa_csv.WriteOptions(include_header=False, quoting_style=style)
        pa_csv.write_csv(rows, sink, options)
        file.write(sink.getvalue())

    return write


def _needs_quotes(ids: pa.Array) -> bool:
    """Whether an id is not plain text; then Arrow quotes them all."""
    if not pa.types.is_string(ids.type):
        return False
    return bool(pc.any(pc.match_substring_regex(ids, '[",\r\n]')).as_py())
