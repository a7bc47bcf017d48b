"""Arrow columns of JSON values, scanned or decoded, and the one text of each value.

In a column of mixed scalars a number is its shortest text: an int its digits, an integral float
below 2**53 the integer, another float as Python writes it; true and false by name. So a value
has the same text whichever column type its block gave it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.jit import jit
from features.values import text_column
from streaming.sources.block import Block
from streaming.sources.json_keys import Keys
from streaming.sources.json_scan import Members, find_members
from streaming.sources.json_values import BOOL, FLOAT, INT, LIST, TEXT
from streaming.sources.text_columns import side_by_side

__all__ = [
    "EXACT",
    "LISTS",
    "NESTED",
    "column_of",
    "decode_line",
    "joined",
    "json_columns",
    "kinds_of",
    "scalar_text",
    "scan_block",
    "texts_of",
]

EXACT = 2**53  # below it, a float64 holds every integer
_INT64 = 2**63
_NONE = type(None)
_QUOTE = ord('"')
_FEW = 16  # one row in so many may be not plain

_ARROW = {
    0: pa.string(),
    1 << TEXT: pa.string(),
    1 << INT: pa.int64(),
    1 << FLOAT: pa.float64(),
    1 << INT | 1 << FLOAT: pa.float64(),
    1 << BOOL: pa.bool_(),
}


def scalar_text(value: str | int | float | bool) -> str:
    """Write a scalar as text.

    Examples
    --------
    >>> [scalar_text(value) for value in ("1.0", 1.0, 12, 0.5, True)]
    ['1.0', '1', '12', '0.5', 'true']
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    return str(value)


def kinds_of(values: Sequence[Any]) -> set[type]:
    """Types that occur among ``values``, None's left out."""
    return set(map(type, values)) - {_NONE}


def column_of(values: Sequence[Any]) -> pa.Array:
    """Make a column of scalars, or of lists of scalars, with None as null.

    The type is bool, int64 or float64 where all values fit it exactly, else string.
    """
    if kinds_of(values) != {list}:
        kind = _scalar_type(values)
        return pa.array(_as(kind, values), kind)
    members = [member for value in values if value is not None for member in value]
    kind = _scalar_type(members)
    if _as(kind, members) is not members:
        values = [None if value is None else _as(kind, value) for value in values]
    return pa.array(values, pa.list_(kind))


def _scalar_type(values: Sequence[Any]) -> pa.DataType:
    kinds = kinds_of(values)
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int} and all(v is None or -_INT64 <= v < _INT64 for v in values):
        return pa.int64()
    if kinds == {float}:
        return pa.float64()
    if kinds == {int, float} and all(v is None or -EXACT < v < EXACT for v in values):
        return pa.float64()
    return pa.string()


def _as(kind: pa.DataType, values: Sequence[Any]) -> Sequence[Any]:
    if kind != pa.string() or kinds_of(values) == {str}:
        return values
    return [None if value is None else scalar_text(value) for value in values]


def scan_block(
    block: Block, plain: npt.NDArray[np.bool_], keys: Keys, wanted: Sequence[str],
    found: Members | None = None,
) -> pa.RecordBatch | None:  # fmt: skip
    """Read the plain rows of a block.

    Parameters
    ----------
    block
        The rows.
    plain
        bool, one per row: whether to look at it, in which case it is valid UTF-8. Changed in
        place: false for a row that is not plain.
    keys
        All keys to expect.
    wanted
        Names of the columns to return.
    found
        Where they stand, if that is known.

    Returns
    -------
    RecordBatch or None
        The rows left in ``plain``; None where they are not nearly all, or where a column holds
        values of several types, floats among them, or numbers that its type would not hold
        exactly.
    """
    data = np.frombuffer(block.data, np.uint8)
    most_odd = block.rows // _FEW
    found = found or find_members(data, block.starts, block.ends, plain, keys, most_odd)
    if found is None:
        return None
    plain &= found.plain
    if len(plain) - plain.sum() > most_odd:
        return None
    found = found.of(np.flatnonzero(plain))
    texts, offsets = side_by_side(data, found.begin, found.size)
    arrays = list(map(typed_column, texts, offsets, found.kind))
    if any(array is None for array in arrays):
        return None
    return pa.RecordBatch.from_arrays(arrays, names=list(wanted))


def texts_of(data: Any, begin: Any, size: Any) -> pa.Array:
    """Texts that stand in ``data``, null where the size is 0."""
    [text], [offsets] = side_by_side(data, begin[None], size[None])
    return _text_array(text, offsets, np.where(size > 0, TEXT, 0), 1)


def typed_column(text: Any, offsets: Any, kind: Any) -> pa.Array | None:
    """Make a column of values as they are written; ``None`` as :func:`scan_block` does."""
    seen = int(np.bitwise_or.reduce(np.left_shift(1, kind, dtype=np.uint8)))
    if seen & 1 << LIST:
        return None if seen & ~3 != 1 << LIST else _string_lists(text, offsets, kind == LIST)
    return _typed(_text_array(text, offsets, kind, seen & 3), seen & ~3)


def _text_array(text: Any, offsets: Any, kind: Any, nulls: int) -> pa.Array:
    """Make a column of texts, null where ``kind`` says so; ``nulls``: whether it may."""
    valid = pa.py_buffer(np.packbits(kind >= TEXT, bitorder="little")) if nulls else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), len(kind), buffers)


def _typed(texts: pa.Array, seen: int) -> pa.Array | None:
    """Cast to the type of the kinds ``seen`` (a bit each); None if mixed, or not exact."""
    kind = _ARROW.get(seen)
    if kind == pa.string():
        return texts
    if kind is None:  # texts, integers and booleans stand as they are read, but for -0
        as_read = not seen & 1 << FLOAT and not pc.any(pc.equal(texts, "-0")).as_py()
        return texts if as_read else None
    try:
        values = texts.cast(kind)
    except pa.ArrowInvalid:
        return None
    if kind == pa.float64() and (pc.max(pc.abs(values)).as_py() or 0.0) >= EXACT:
        return None
    return values


def _string_lists(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], valid: npt.NDArray[np.bool_]
) -> pa.Array:
    r"""Make a column of lists of strings.

    Parameters
    ----------
    text, offsets
        Each row's list as it is written, without escapes; nothing for a null.
    valid
        Which rows are no nulls.

    Examples
    --------
    >>> text = np.frombuffer(b'["a", "bc"][]', np.uint8)
    >>> _string_lists(text, np.array([0, 11, 13, 13]), np.array([True, True, False])).to_pylist()
    [['a', 'bc'], [], None]
    """
    text = text[: offsets[-1]]
    members = np.count_nonzero(text == _QUOTE) // 2
    ends, rows = np.zeros(members + 1, np.int32), np.zeros(len(offsets), np.int32)
    out = np.empty(len(text), np.uint8)
    _split(text, offsets, ends, rows, out)
    values = pa.Array.from_buffers(
        pa.string(), members, [None, pa.py_buffer(ends), pa.py_buffer(out)]
    )
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    kind = pa.list_(pa.string())
    return pa.Array.from_buffers(kind, len(valid), [bits, pa.py_buffer(rows)], children=[values])


@jit
def _split(text: Any, offsets: Any, ends: Any, rows: Any, out: Any) -> None:
    """Copy what stands between quotes; where each string ends, and each row's last one."""
    member, size = 0, 0
    for row in range(len(offsets) - 1):
        at = offsets[row]
        while at < offsets[row + 1]:
            if text[at] == _QUOTE:
                at += 1
                while text[at] != _QUOTE:
                    out[size] = text[at]
                    size += 1
                    at += 1
                member += 1
                ends[member] = size
            at += 1
        rows[row + 1] = member


NESTED = "its values have keys of their own; write each as a column"
LISTS = "its values are lists of lists or objects; write them as lists of texts"
_LINES = 10_000  # decoded at a time
_strict = msgspec.json.Decoder().decode
# A string, or a number as Python's json writes it though JSON has none.
_NO_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|\bNaN\b|-?\bInfinity\b')


def decode_line(line: bytes) -> Any:
    """Decode a line of JSON, in which NaN is null, and an infinity a float.

    Raises
    ------
    msgspec.DecodeError, UnicodeDecodeError, RecursionError
        It is not JSON.

    Examples
    --------
    >>> decode_line(b'{"a": NaN, "b": [-Infinity], "c": "NaN"}')
    {'a': None, 'b': [-inf], 'c': 'NaN'}
    """
    try:
        return _strict(line)
    except msgspec.DecodeError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
    _strict(_NO_NUMBER.sub(lambda m: m[0] if m[0][:1] == b'"' else b"null", line))
    return json.loads(line, parse_constant=lambda name: None if name == "NaN" else float(name))


def joined(chunks: Sequence[pa.Array]) -> pa.ChunkedArray:
    """One column of parts whose types may differ: as lists, or else as texts."""
    kinds = {chunk.type for chunk in chunks if not pa.types.is_null(chunk.type)}
    kind = next(iter(kinds), pa.string())
    if len(kinds) > 1:
        kind = pa.list_(pa.string()) if any(map(pa.types.is_list, kinds)) else pa.string()
    return pa.chunked_array([_cast(chunk, kind) for chunk in chunks], kind)


def _cast(chunk: pa.Array, kind: pa.DataType) -> pa.Array:
    if chunk.type == kind:
        return chunk
    if pa.types.is_null(chunk.type):
        return pa.nulls(len(chunk), kind)
    if not pa.types.is_list(kind):
        words = text_column(chunk)
        return words.cast(kind)
    if pa.types.is_list(chunk.type):
        return pa.ListArray.from_arrays(
            chunk.offsets, text_column(chunk.values).cast(pa.string()), mask=chunk.is_null()
        )
    return pa.array([None if v is None else [v] for v in text_column(chunk).to_pylist()], kind)


def json_columns(pieces: Sequence[bytes]) -> tuple[pa.Table, dict[str, str]]:
    """Columns of lines of JSON that can be learned from, and why the others cannot."""
    columns: dict[str, list[pa.Array]] = {}
    unusable: dict[str, str] = {}
    count = 0
    lines = (line for piece in pieces for line in piece.split(b"\n"))
    while some := list(islice(lines, _LINES)):
        rows = list(filter(None, map(_object, some)))
        for name in dict.fromkeys(key for row in rows for key in row):
            values = [row.get(name) for row in rows]
            if name in unusable:
                continue
            if why := _why_unusable(name, values):
                unusable[name] = why
                columns.pop(name, None)
                continue
            chunks = columns.setdefault(name, [pa.nulls(count)] if count else [])
            chunks.append(_json_column(values))
        count += len(rows)
        for chunks in columns.values():
            if missing := count - sum(map(len, chunks)):
                chunks.append(pa.nulls(missing))
    table = pa.table({name: joined(c) for name, c in columns.items()})
    return table, unusable


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _why_unusable(name: str, values: Sequence[Any]) -> str:
    if not name:
        return "it has no name"
    kinds = kinds_of(values)
    if dict in kinds:
        return NESTED
    members = (kinds_of(value) for value in values if type(value) is list) if list in kinds else ()
    inner: set[type] = set().union(*members)
    return NESTED if dict in inner else LISTS if list in inner else ""


def _json_column(values: Sequence[Any]) -> pa.Array:
    kinds = kinds_of(values)
    if list in kinds and len(kinds) > 1:
        values = [v if v is None or type(v) is list else [v] for v in values]
    return column_of(values)
