"""Record batches of the simulator as JSON Lines, a whole column at a time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["json_lines"]


def json_lines(batch: pa.RecordBatch) -> bytes:
    r"""Write each row as a JSON object on a line of its own.

    For the simulator's own columns only: their texts hold nothing that JSON would escape, and
    nothing in them is null, which is what makes this some ten times faster than row by row.

    Examples
    --------
    >>> json_lines(pa.RecordBatch.from_pydict({"ad": ["ad1", "ad2"], "click": [0, 1]}))
    b'{"ad":"ad1","click":0}\n{"ad":"ad2","click":1}\n'
    """
    pieces: list[pa.Array | str] = []
    before = "{"
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        opening, text, closing = _json_text(column)
        pieces += [f'{before}"{name}":{opening}', text]
        before = f"{closing},"
    pieces.append(f"{before[:-1]}}}\n")
    lines = pc.binary_join_element_wise(*pieces, "")
    _, offsets, data = lines.buffers()
    length = pa.Array.from_buffers(pa.int32(), len(lines) + 1, [None, offsets])[-1].as_py()
    return data.slice(0, length).to_pybytes()  # type: ignore[no-any-return]


def _json_text(column: pa.Array) -> tuple[str, pa.Array, str]:
    """Text of each value, and what encloses it."""
    if pa.types.is_dictionary(column.type):
        return '"', column.dictionary_decode(), '"'
    if pa.types.is_string(column.type):
        return '"', column, '"'
    if pa.types.is_list(column.type):
        quoted = pc.binary_join_element_wise('"', column.flatten(), '"', "")
        lengths = pc.list_value_length(column).to_numpy()
        ends = pa.array([0, *lengths.cumsum()], pa.int32())
        return "[", pc.binary_join(pa.ListArray.from_arrays(ends, quoted), ","), "]"
    return "", column.cast(pa.string()), ""
