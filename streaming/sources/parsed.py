"""What a parser makes of a block: columns, rejects, and which row is which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from streaming.sources.batch import Batch, Position, Reject
from streaming.sources.block import Index

__all__ = ["Parsed", "one_batch", "to_batch"]


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
    parsed: Parsed, file: str, first_row: int, origin: Callable[[int], tuple[int, bytes]]
) -> Batch:
    """Place a stretch of the block that begins at ``first_row`` of ``file``."""
    rows = parsed.rows
    return Batch(
        columns=parsed.columns,
        file=file,
        origin=lambda i: origin(int(rows[i])),
        positions=lambda i: Position(file, first_row + int(rows[i]) + 1),
        rejects=parsed.rejects,
        position=Position(file, first_row + parsed.end),
    )


def one_batch(table: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    """Make a table's columns one record batch under ``names``."""
    arrays = [_one_array(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
