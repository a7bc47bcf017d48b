"""JSON Lines: a block by a compiled scan if it is plain, else by Arrow, else line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from features.batch import Reject
from streaming.sources.block import Block, Parsed, one_batch, parse_each
from streaming.sources.faults import check_columns
from streaming.sources.json_columns import EXACT, column_of, decode_line, kinds_of, scan_block
from streaming.sources.json_keys import Keys
from streaming.sources.json_scan import Members
from streaming.sources.streams import peek

__all__ = ["JsonLines", "json_lines_of", "open_json_lines"]

_HEAD_ROWS, _HEAD_BYTES = 1000, 1 << 25
_TYPE_ROWS = 256
_MAX_NESTED = 500  # Arrow reads JSON nested deeper than msgspec does
_OPEN, _CLOSE = ord("{"), ord("}")


def open_json_lines(
    blocks: Iterator[Block], file: str, wanted: Sequence[str], max_line_bytes: int
) -> tuple[JsonLines, Iterator[Block]]:
    """Look at the first rows for the columns' types, and make the parser of all.

    Raises
    ------
    SourceError
        None of the first 1000 rows has some wanted column.
    """
    head, blocks = peek(blocks, _share_of_head, 1.0)
    rows = _objects(head, max_line_bytes)
    found: dict[str, None] = {}
    sample: list[dict[str, Any]] = []
    for row in rows:
        found.update(dict.fromkeys(row))
        if len(sample) < _TYPE_ROWS:
            sample.append(row)
        elif all(name in found for name in wanted):
            break
    if sample:
        check_columns(file, list(found), wanted, f" in its first {_HEAD_ROWS} rows")
    return json_lines_of(sample, wanted, max_line_bytes), blocks


def json_lines_of(
    sample: Sequence[dict[str, Any]], wanted: Sequence[str], max_line_bytes: int
) -> JsonLines:
    """The parser of rows that look like those of a sample; it expects their keys and types."""
    keys = Keys.of(list(sample[0]) if sample else (), wanted)
    types = [(name, _type_of([row.get(name) for row in sample])) for name in wanted]
    return JsonLines(tuple(wanted), keys, pa.schema(types), max_line_bytes)


def _share_of_head(block: Block) -> float:
    return max(block.rows / _HEAD_ROWS, len(block.data) / _HEAD_BYTES)


def _objects(blocks: list[Block], max_line_bytes: int) -> Iterator[dict[str, Any]]:
    """Decode the first rows of ``blocks``, those that are objects."""
    rows = ((block, i) for block in blocks for i in range(block.rows))
    for _, (block, i) in zip(range(_HEAD_ROWS), rows, strict=False):
        row = _object(block, i, max_line_bytes)
        if not isinstance(row, Reject):
            yield row


def _object(block: Block, i: int, max_line_bytes: int) -> dict[str, Any] | Reject:
    if (long := block.long_reject(i, max_line_bytes)) is not None:
        return long
    try:
        row = decode_line(block.row(i))
    except UnicodeDecodeError as error:
        return block.reject(i, "invalid_utf8", error.reason)
    except RecursionError:
        return block.reject(i, "broken_json", "nested too deeply")
    except msgspec.DecodeError as error:
        return block.reject(i, "broken_json", str(error))
    if not isinstance(row, dict):
        return block.reject(i, "not_an_object", f"a {type(row).__name__}, expected an object")
    return row


def _type_of(values: Sequence[Any]) -> pa.DataType:
    """The column type to expect after seeing ``values``; string where they do not tell."""
    kinds = kinds_of(values)
    mixed = dict in kinds or (list in kinds and len(kinds) > 1)
    return pa.string() if mixed or any(map(_is_nested, values)) else column_of(values).type


def _is_nested(value: Any) -> bool:
    """Whether it is no scalar and no list of scalars."""
    if type(value) is list:
        return not kinds_of(value).isdisjoint((list, dict))
    return type(value) is dict


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Parser of the blocks of one JSON Lines file.

    Parameters
    ----------
    wanted
        Names of the keys to return, in order; an absent one is null.
    keys
        All keys to expect.
    schema
        The types they had in the first rows. A block that does not fit gets types of its own.
    max_line_bytes
        Longest line taken.
    """

    wanted: tuple[str, ...]
    keys: Keys
    schema: pa.Schema
    max_line_bytes: int

    def __call__(self, block: Block) -> list[Parsed]:
        """Parse a block; more than one stretch where a column turns from scalars to lists."""
        plain = (block.ends - block.starts <= self.max_line_bytes) & (not block.long_line)
        is_utf8 = _is_utf8(block.data)
        if not is_utf8:
            plain &= _utf8_rows(block)
        parsed = self._parse_by_scan(block, plain)
        if parsed is None and is_utf8 and block.longest() <= self.max_line_bytes:
            parsed = self._parse_by_arrow(block)
        return self._parse_lines(block) if parsed is None else [parsed]

    def scanned(self, block: Block, found: Members | None = None) -> Parsed | None:
        """Parse a block of plain rows, between which may stand anything; ``None``: it has others.

        It is for rows that stand in something larger, and spares to copy them out of it; their
        members may be ``found`` already.
        """
        plain = block.ends - block.starts <= self.max_line_bytes
        return self._parse_by_scan(block, plain, found) if _is_utf8(block.data) else None

    def _parse_by_scan(
        self, block: Block, plain: npt.NDArray[np.bool_], found: Members | None = None
    ) -> Parsed | None:
        """Parse a block whose rows are plain or, a few of them, rejects."""
        columns = scan_block(block, plain, self.keys, self.wanted, found)
        if columns is None:
            return None
        odd = [self.parse_line(block, i) for i in np.flatnonzero(~plain).tolist()]
        rejects = [row for row in odd if isinstance(row, Reject)]
        if len(rejects) < len(odd):
            return None
        return Parsed(columns, np.flatnonzero(plain), block.rows, rejects)

    def _parse_by_arrow(self, block: Block) -> Parsed | None:
        if not self._suits_arrow(block):
            return None
        columns = _read(block, self.schema)
        if columns is None and (schema := self._block_schema(block)) != self.schema:
            columns = _read(block, schema)
        if columns is None:
            return None
        return Parsed(columns, np.arange(block.rows), block.rows)

    def _suits_arrow(self, block: Block) -> bool:
        """Whether Arrow reads the block as we would, if it reads it at all.

        It takes several objects on a line, and one over several; but where each line begins
        with ``{`` and ends with ``}``, valid JSON cannot go on from one line to the next. It
        takes NaN and deep nesting.
        """
        data = block.data
        view = np.frombuffer(data, np.uint8)
        return (
            bool((view[block.starts] == _OPEN).all() and (view[block.ends - 1] == _CLOSE).all())
            and not (_has_pair(view, b"aN") and b"NaN" in data)
            and not (_has_pair(view, b"nf") and b"Inf" in data)
            and not _is_deep(block)
        )

    def _block_schema(self, block: Block) -> pa.Schema:
        """Types that rows spread over the block have; the file's where they do not tell."""
        step = max(block.rows // 64, 1)
        objects = (_object(block, i, self.max_line_bytes) for i in range(0, block.rows, step))
        rows = [row for row in objects if not isinstance(row, Reject)]
        fields = []
        for field in self.schema:
            values = [row.get(field.name) for row in rows]
            own = _type_of(values)
            keep = not kinds_of(values) or (own, field.type) == (pa.int64(), pa.float64())
            fields.append(field if keep else pa.field(field.name, own))
        return pa.schema(fields)

    def _parse_lines(self, block: Block) -> list[Parsed]:
        good, rows, rejects = parse_each(range(block.rows), lambda i: self.parse_line(block, i))
        starts = _run_starts(good)
        stops = [*starts[1:], len(good)]
        ends = [0, *(rows[start] for start in starts[1:]), block.rows]
        return [
            Parsed(
                self._columns(good[start:stop]),
                np.array(rows[start:stop], np.int64),
                ends[run + 1],
                [reject for i, reject in rejects.items() if ends[run] <= i < ends[run + 1]],
            )
            for run, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]

    def parse_line(self, block: Block, i: int) -> list[Any] | Reject:
        """The wanted values of a row, each a scalar, a list of scalars or None."""
        row = _object(block, i, self.max_line_bytes)
        if isinstance(row, Reject):
            return row
        values = [row.get(name) for name in self.wanted]
        for name, value in zip(self.wanted, values, strict=True):
            if _is_nested(value):
                found = "an object" if type(value) is dict else "a list of lists or objects"
                detail = f"field {name!r}: {found}, expected a scalar or a list of scalars"
                return block.reject(i, "bad_value", detail)
        return values

    def _columns(self, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
        columns = zip(*rows, strict=True) if rows else [()] * len(self.wanted)
        return pa.RecordBatch.from_arrays(list(map(column_of, columns)), names=list(self.wanted))


def _read(block: Block, schema: pa.Schema) -> pa.RecordBatch | None:
    """Parse a block by Arrow; None where it does not fit ``schema``, or a float is not exact."""
    options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(block.data) + 1)
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        table = pyarrow.json.read_json(pa.py_buffer(block.data), options, parse)
    except pa.ArrowException:
        return None
    columns = one_batch(table, schema.names)
    if columns.num_rows != block.rows or not all(map(_is_exact, columns.columns)):
        return None
    return columns


def _is_exact(column: pa.Array) -> bool:
    """Whether no integer among the column's floats can have been rounded."""
    values = column.flatten() if pa.types.is_list(column.type) else column
    if not pa.types.is_float64(values.type):
        return True
    return bool((pc.max(pc.abs(values)).as_py() or 0.0) < EXACT)


def _has_pair(view: npt.NDArray[np.uint8], pair: bytes) -> bool:
    """Whether two bytes stand side by side; faster than ``in``, and without the GIL."""
    return bool(((view[:-1] == pair[0]) & (view[1:] == pair[1])).any())


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)]).validate(
            full=True
        )
    except pa.ArrowInvalid:
        return False
    return True


def _utf8_rows(block: Block) -> npt.NDArray[np.bool_]:
    return np.array([_is_utf8(block.row(i)) for i in range(block.rows)], np.bool_)


def _is_deep(block: Block) -> bool:
    """Whether a line may nest deeper than both parsers go; a bracket needs its counterpart."""
    for i in np.flatnonzero(block.ends - block.starts > 2 * _MAX_NESTED).tolist():
        line = block.row(i)
        if line.count(b"[") + line.count(b"{") > _MAX_NESTED:
            return True
    return False


def _run_starts(rows: Sequence[Sequence[Any]]) -> list[int]:
    """Where to cut, so that no column holds both lists and scalars; always begins with 0."""
    kinds = [kinds_of(column) for column in zip(*rows, strict=True)]
    mixed = [at for at, kind in enumerate(kinds) if list in kind and len(kind) > 1]
    starts: list[int] = [0]
    shape: dict[int, bool] = {}
    for i, row in enumerate(rows) if mixed else ():
        now = {at: type(row[at]) is list for at in mixed if row[at] is not None}
        if any(shape.get(at, is_list) != is_list for at, is_list in now.items()):
            starts.append(i)
            shape = {}
        shape.update(now)
    return starts
