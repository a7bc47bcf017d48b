"""CSV and TSV: a whole block at once, by Arrow; where anything is odd, by line.

A CSV value may be quoted with ``"``, doubled inside; text after the closing quote is appended;
a quote elsewhere stands for itself (see :mod:`streaming.sources.cutting`). TSV has no quoting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from features.batch import Reject
from features.errors import SourceError
from streaming.sources.block import Block, Index, Parsed, one_batch, parse_each
from streaming.sources.faults import check_columns, empty

__all__ = [
    "Delimited",
    "DelimitedLayout",
    "check_separator",
    "header_names",
    "open_delimited",
    "split_line",
]

_FEW_ROWS = 16  # so few are read one by one, rather than halved again
_RETURN = ord("\r")
_MAX_BLOCK = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DelimitedLayout:
    """How the text of a CSV or TSV file is laid out.

    Parameters
    ----------
    separator
        One ASCII character.
    quoted
        Whether ``"`` quotes a value.
    header
        Whether the first row holds the names.
    columns
        The names, where it does not.
    """

    separator: str
    quoted: bool
    header: bool
    columns: tuple[str, ...] = ()


def check_separator(separator: str, file: str) -> None:
    """Refuse a separator that cannot be one."""
    if len(separator.encode()) != 1 or separator in '"\r\n':
        raise SourceError(
            f"{file}: the separator {separator!r} cannot be used. "
            'Fix: give one ASCII character under [source], such as separator = ";"'
        )


def open_delimited(
    blocks: Iterator[Block],
    file: str,
    layout: DelimitedLayout,
    wanted: Sequence[str],
    max_line_bytes: int,
) -> tuple[Delimited, Iterator[Block]]:
    """Take the header off ``blocks`` and make the parser of the rest.

    Raises
    ------
    SourceError
        A wanted column is absent or named twice, or the header cannot be read.
    """
    names = layout.columns
    if layout.header:
        first = next(blocks, None)
        if first is None:
            raise empty(file)
        names = header_names(first, layout.separator, quoted=layout.quoted)
        blocks = chain([first], blocks)
    check_columns(file, names, wanted, "" if layout.header else " given in the spec")
    return Delimited(names, tuple(wanted), layout, max_line_bytes), blocks


def header_names(block: Block, separator: str, *, quoted: bool) -> tuple[str, ...]:
    """Names in the first row of a block.

    Raises
    ------
    SourceError
        It is not UTF-8.
    """
    line = block.row(0)
    values = None if block.long_line else split_line(line, separator.encode(), quoted)
    try:
        return tuple(value.decode() for value in values or ())
    except UnicodeDecodeError as error:
        shown = line.decode("cp1252", errors="replace")[:60]
        raise SourceError(
            f"{block.file}: line {block.lines[0]}: the header is not UTF-8 (as Windows-1252 it is "
            f"{shown!r}). Fix: iconv -f windows-1252 -t utf-8 {block.file} > FILE, and give that"
        ) from error


@dataclass(frozen=True)
class Delimited:
    """Parser of the blocks of one CSV or TSV file.

    Parameters
    ----------
    names
        Names of all columns of the file, in order.
    wanted
        Names of the columns to return, in the order to return them.
    layout
        How its text is laid out.
    max_line_bytes
        Longest line taken.
    """

    names: tuple[str, ...]
    wanted: tuple[str, ...]
    layout: DelimitedLayout
    max_line_bytes: int

    def __call__(self, block: Block) -> list[Parsed]:
        """Parse a block, every bad row of it a reject."""
        return [self._parse(block)]

    def _parse(self, block: Block) -> Parsed:
        columns = self._parse_whole(block)
        if columns is not None:
            return Parsed(columns, np.arange(block.rows), block.rows)
        if block.rows <= _FEW_ROWS:
            return self._parse_rows(block, np.arange(block.rows))
        if (parsed := self._parse_around_odd(block)) is not None:
            return parsed
        half = block.rows // 2
        return _joined(self._parse(block.part(0, half)), self._parse(block.part(half, block.rows)))

    def _parse_around_odd(self, block: Block) -> Parsed | None:
        """Parse a block by Arrow but for a few rows; None where these are not what is wrong."""
        odd = self._suspect_rows(block)
        if not 0 < len(odd) <= block.rows // 4:
            return None
        columns = self._parse_whole(block.without(odd))
        if columns is None:
            return None
        lines = self._parse_rows(block, odd)
        both = _joined(Parsed(columns, np.delete(np.arange(block.rows), odd), 0), lines)
        if not len(lines.rows):
            return both
        order = np.argsort(both.rows)
        return replace(both, columns=both.columns.take(pa.array(order)), rows=both.rows[order])

    def _suspect_rows(self, block: Block) -> Index:
        """Rows that look like trouble, found without parsing them."""
        view = np.frombuffer(block.data, np.uint8)

        def count(mask: Any) -> Any:
            return np.add.reduceat(mask, block.starts, dtype=np.int32)

        odd = count(view == ord(self.layout.separator)) != len(self.names) - 1
        odd |= block.ends - block.starts > self.max_line_bytes
        if not block.data.isascii():
            odd |= count(view >= 128) > 0
        if b"\r" in block.data:
            odd |= count(view == _RETURN) > 1
        odd[block.broken] = True
        return np.flatnonzero(odd)

    @cached_property
    def _wanted_at(self) -> list[int]:
        return [self.names.index(name) for name in self.wanted]

    def _parse_whole(self, block: Block) -> pa.RecordBatch | None:
        """Parse all rows at once; None where Arrow might not read every line as we would."""
        data = block.data
        if block.longest() > self.max_line_bytes or data.startswith(b"\xef\xbb\xbf"):
            return None
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return None  # Arrow takes a lone "\r" for a line end
        if len(block.broken):
            return None  # Arrow looks for the end of a quoted value at any distance
        try:
            table = self._read(data)
        except pa.ArrowException:
            return None
        if table.num_rows != block.rows:
            return None
        return one_batch(table.select(range(len(self.wanted))), self.wanted)

    def _read(self, data: bytes) -> pa.Table:
        names = [str(at) for at in range(len(self.names))]  # a file may repeat a name
        wanted = [names[at] for at in self._wanted_at]
        return pyarrow.csv.read_csv(
            pa.py_buffer(data),
            pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=min(len(data) + 1, _MAX_BLOCK)
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self.layout.separator,
                quote_char='"' if self.layout.quoted else False,
                double_quote=self.layout.quoted,
            ),
            pyarrow.csv.ConvertOptions(
                include_columns=wanted or names[:1],  # none means all
                column_types=dict.fromkeys(wanted, pa.string()),
                null_values=[],
                check_utf8=not data.isascii(),
            ),
        )

    def _parse_rows(self, block: Block, numbers: Index) -> Parsed:
        """Parse some rows one by one."""
        good, rows, rejects = parse_each(numbers.tolist(), lambda i: self._parse_line(block, i))
        columns = list(zip(*good, strict=True)) or [()] * len(self.wanted)
        arrays = [pa.array(column, pa.string()) for column in columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(self.wanted))
        return Parsed(batch, np.array(rows, np.int64), block.rows, list(rejects.values()))

    def _parse_line(self, block: Block, i: int) -> list[str] | Reject:
        if (long := block.long_reject(i, self.max_line_bytes)) is not None:
            return long
        values = split_line(block.row(i), self.layout.separator.encode(), self.layout.quoted)
        if values is None:
            detail = 'a value opened with " is not closed, or not followed by a separator'
            return block.reject(i, "broken_quotes", detail)
        if len(values) != len(self.names):
            reason = "row_too_short" if len(values) < len(self.names) else "row_too_long"
            detail = f"{len(values)} columns, expected {len(self.names)}"
            return block.reject(i, reason, detail)
        return self._decode(block, i, values)

    def _decode(self, block: Block, i: int, values: list[bytes]) -> list[str] | Reject:
        decoded = []
        for name, at in zip(self.wanted, self._wanted_at, strict=True):
            try:
                decoded.append(values[at].decode())
            except UnicodeDecodeError as error:
                shown = values[at].decode("cp1252", errors="replace")[:40]
                detail = f"column {name!r}: {error.reason}; as Windows-1252 it is {shown!r}"
                return block.reject(i, "invalid_utf8", detail)
        return decoded


def split_line(line: bytes, separator: bytes, quoted: bool) -> list[bytes] | None:
    """Cut a line into its values, unquoted; None where a quote is left open.

    Examples
    --------
    >>> split_line(b'a,"b,""c",d', b",", True)
    [b'a', b'b,"c', b'd']
    """
    if not quoted or b'"' not in line:
        return line.split(separator)
    values, at = [], 0
    while at <= len(line):
        value = b""
        if line[at : at + 1] == b'"':
            closed = _closing_quote(line, at + 1)
            if closed < 0:
                return None
            value, at = line[at + 1 : closed].replace(b'""', b'"'), closed + 1
        end = line.find(separator, at)
        end = len(line) if end < 0 else end
        values.append(value + line[at:end])
        at = end + 1
    return values


def _closing_quote(line: bytes, at: int) -> int:
    """Where the first quote from ``at`` on stands that is not doubled, or -1."""
    while (at := line.find(b'"', at)) >= 0 and line[at + 1 : at + 2] == b'"':
        at += 2
    return at


def _joined(first: Parsed, second: Parsed) -> Parsed:
    table = pa.Table.from_batches([first.columns, second.columns])
    return Parsed(
        one_batch(table, table.column_names),
        np.concatenate([first.rows, second.rows + first.end]),
        first.end + second.end,
        first.rejects + second.rejects,
    )
