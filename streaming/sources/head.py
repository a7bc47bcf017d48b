"""A look at a log's first rows, its shape guessed, to write a first spec from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import msgspec

from streaming.sources.block import Block
from streaming.sources.cutting import Limits, read_blocks
from streaming.sources.delimited import header_names, split_line
from streaming.sources.faults import empty
from streaming.sources.formats import (
    SEPARATORS,
    excel_separator,
    format_by_content,
    format_by_name,
    refuse_foreign,
    separator_in,
)
from streaming.sources.json_lines import decode_line
from streaming.sources.listing import list_files
from streaming.sources.parquet import open_parquet, rows_from
from streaming.sources.sparse_text import SPARSE, parse_sparse, sparse_columns
from streaming.sources.streams import (
    PEEKED,
    peek,
    read_chunks,
    utf8_lines,
    without_runs_of_blanks,
)

__all__ = ["Head", "describe_head"]

_DELIMITED = ("csv", "tsv")
_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """First rows of a log and what it looks like.

    Parameters
    ----------
    format
        ``csv``, ``tsv``, ``jsonl``, ``parquet``, ``vw``, ``libsvm`` or ``libffm``.
    separator
        Between columns (CSV and TSV), else empty.
    header
        Whether the first line holds the names (CSV and TSV); else the columns are c1, c2, ...
    columns
        Names, in the file's order.
    rows
        The first rows that can be read; values of CSV and TSV are texts.
    """

    format: str
    separator: str
    header: bool
    columns: list[str]
    rows: list[dict[str, Any]]


def describe_head(path: str, n: int = 200, *, stdin: BinaryIO | None = None) -> Head:
    r"""Look at the first ``n`` rows of a log; of a folder, at its first file.

    Raises
    ------
    SourceError
        It cannot be read, is empty, or its format cannot be told.

    Examples
    --------
    >>> import io
    >>> head = describe_head("-", stdin=io.BytesIO(b"click;ad\n1;a\n0;b\n"))
    >>> head.format, head.separator, head.header, head.rows[0]
    ('csv', ';', True, {'click': '1', 'ad': 'a'})
    """
    listed = list_files(path, "auto")[0]
    head = _head_of(listed.path, n, stdin)
    columns = dict.fromkeys([*head.columns, *listed.partitions])
    rows = [{**row, **listed.partitions} for row in head.rows]
    return replace(head, columns=list(columns), rows=rows)


def _head_of(file: str, n: int, stdin: BinaryIO | None) -> Head:
    with closing(read_chunks(file, PEEKED, stdin)) as raw:
        first, chunks = peek(utf8_lines(raw), len, PEEKED)
        begin = b"".join(first)
        refuse_foreign(begin, file)
        parquet = begin.startswith(b"PAR1")
        format = "parquet" if parquet else format_by_name(file) or format_by_content(begin, file)
        if format == "parquet":
            return _parquet_head(file, n)
        excel = excel_separator(begin)
        skipped = len(excel)
        text = begin.split(b"\n")[skipped:]
        separator = excel or (separator_in(text[:-1] or text) if format in _DELIMITED else "")
        limits = Limits(block_bytes=PEEKED, batch_rows=n + 2)
        quoted = (separator or ",") if format == "csv" else ""
        chunks = without_runs_of_blanks(chunks) if separator == " " else chunks
        block = next(read_blocks(chunks, file, limits, 0, quoted), None)
    if block is None or block.rows <= skipped:
        raise empty(file)
    if format in SPARSE:
        return _sparse_head(block, n, format)
    if format == "jsonl":
        return _json_head(block, n)
    return _delimited_head(block.part(skipped, block.rows), n, format, separator)


def _sparse_head(block: Block, n: int, format: str) -> Head:
    rows = []
    for i in range(min(n, block.rows)):
        with suppress(ValueError):
            rows.append(parse_sparse(block.row(i).decode(), format))
    columns = sparse_columns(rows, format)
    return Head(format, "", False, columns, [{c: row.get(c) for c in columns} for row in rows])


def _parquet_head(file: str, n: int) -> Head:
    with open_parquet(file, []) as opened:
        names = list(opened.schema_arrow.names)
        _, batch = next(rows_from(opened, file, names, 0, n))
        return Head("parquet", "", True, names, batch.to_pylist())


def _json_head(block: Block, n: int) -> Head:
    rows = [row for i in range(min(n, block.rows)) if (row := _object(block.row(i))) is not None]
    columns = dict.fromkeys(key for row in rows for key in row)
    return Head("jsonl", "", True, list(columns), rows)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _delimited_head(block: Block, n: int, format: str, separator: str) -> Head:
    lines = [block.row(i) for i in range(block.rows)]
    separator = separator or next(s for s, f in SEPARATORS.items() if f == format)
    header_names(block, separator, quoted=format == "csv")  # refuses what is not UTF-8
    cells = [_cells(line, separator, format) for line in lines]
    header = _is_header(cells[0])
    columns = cells[0] if header else [f"c{i + 1}" for i in range(len(cells[0]))]
    rows = cells[1 : n + 1] if header else cells[:n]
    whole = [row for row in rows if len(row) == len(columns)]
    return Head(format, separator, header, columns, [_named(columns, row) for row in whole])


def _cells(line: bytes, separator: str, format: str) -> list[str]:
    values = split_line(line, separator.encode(), format == "csv") or []
    return [value.decode(errors="replace") for value in values]


def _named(columns: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    return dict(zip(columns, row, strict=True))


def _is_header(cells: Sequence[str]) -> bool:
    """Names are all there, all different, and none is a number."""
    distinct = len(set(cells)) == len(cells)
    return distinct and all(cell.strip() and not _NUMBER.fullmatch(cell) for cell in cells)
