"""Columns of a sample of JSON Lines, and parts of a column of different types made one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from features.values import text_column
from streaming.sources.json_lines import decode_line
from streaming.sources.json_values import column_of, kinds_of

__all__ = ["LISTS", "NESTED", "joined", "json_columns"]

NESTED = "its values have keys of their own; write each as a column"
LISTS = "its values are lists of lists or objects; write them as lists of texts"
_LINES = 10_000  # decoded at a time


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
