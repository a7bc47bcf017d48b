"""What a parser makes of a block: columns, rejects, and which row is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from features.batch import Batch, Position, Reject
from streaming.sources.block import Index

__all__ = ["Parsed", "one_batch", "to_batch", "with_partitions"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A stretch of a block, parsed.

    Parameters
    ----------
    columns
        The good rows.
    rows
        int64, one per good row: which row of the block it is.
    end
        Rows of the block done with after this stretch, rejects included.
    rejects
        The bad rows of the stretch, in order.
    """

    columns: pa.RecordBatch
    rows: Index
    end: int
    rejects: list[Reject] = field(default_factory=list)


def to_batch(
    parsed: Parsed, place: Position, first_row: int, origin: Callable[[int], tuple[int, bytes]]
) -> Batch:
    """Place a stretch of the block that begins at ``first_row`` of the file of ``place``."""
    rows, file, marks, before = parsed.rows, place.file, place.marks, place.before
    return Batch(
        columns=parsed.columns,
        file=file,
        origin=lambda i: origin(int(rows[i])),
        positions=lambda i: Position(file, first_row + int(rows[i]) + 1, marks, before),
        rejects=parsed.rejects,
        position=Position(file, first_row + parsed.end, marks, before),
    )


def with_partitions(
    parsed: Parsed, partitions: Mapping[str, str | None], names: Sequence[str]
) -> Parsed:
    """Add the columns that a file's folders give, the same for all its rows."""
    if not partitions:
        return parsed
    columns, rows = parsed.columns, len(parsed.rows)
    arrays = [
        pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, np.int32), mask=np.full(rows, partitions[name] is None)),
            pa.array([partitions[name]], pa.string()),
        )
        if name in partitions
        else columns.column(name)
        for name in names
    ]
    return replace(parsed, columns=pa.RecordBatch.from_arrays(arrays, names=list(names)))


def one_batch(table: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    """Make a table's columns one record batch under ``names``."""
    arrays = [_one_array(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
