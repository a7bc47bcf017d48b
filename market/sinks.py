"""What goes into each file of a simulation: served events, clicks, the truth, examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features.errors import ClicktideError
from market.columns import COLUMNS, numbered
from market.json_lines import json_lines

__all__ = [
    "COMPRESSED",
    "EXAMPLE_SUFFIXES",
    "ByteFile",
    "Sink",
    "SinkMaker",
    "example_sink",
    "stream_sinks",
]

_SERVED = [name for name in COLUMNS if name not in ("click", "click_delay_ms", "p_true")]
_TRUTH = ["impression_id", "p_true", "click"]
_EXAMPLE = [*_SERVED, "click", "p_true"]

COMPRESSED = (".gz", ".zst")
"""What may follow the name of a text file, to compress it."""

EXAMPLE_SUFFIXES = (".jsonl", ".csv", ".parquet")
"""What the name of a file of examples may end in."""


class ByteFile(Protocol):
    """What a sink writes to."""

    def write(self, data: bytes, /) -> object:
        """Append the bytes."""

    def close(self) -> None:
        """Write what is left."""


class Sink(Protocol):
    """Something that takes all columns of a simulation, batch by batch, into one file."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take the next events."""

    def close(self) -> None:
        """Write what is left and close the file."""


class JsonLinesSink:
    """Some columns as JSON Lines."""

    def __init__(self, file: ByteFile, columns: list[str]) -> None:
        self._file, self._columns = file, columns

    def write(self, batch: pa.RecordBatch) -> None:
        """See :class:`Sink`."""
        self._file.write(json_lines(batch.select(self._columns)))

    def close(self) -> None:
        """See :class:`Sink`."""
        self._file.close()


class ClickSink:
    """The clicks as JSON Lines, in the order of their own times.

    A click waits until impressions are as late as it: none of theirs can come before it. Since
    delays are bounded, so is the number of clicks that wait.
    """

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._waiting = np.empty((2, 0), dtype=np.int64)  # time of the click, number of the event

    def write(self, batch: pa.RecordBatch) -> None:
        """See :class:`Sink`."""
        clicks = batch.filter(pc.equal(batch["click"], 1))
        time = pc.add(clicks["timestamp"], clicks["click_delay_ms"]).to_numpy()
        event = pc.utf8_slice_codeunits(clicks["impression_id"], 4).cast(pa.int64()).to_numpy()
        self._waiting = np.concatenate([self._waiting, [time, event]], axis=1)
        self._emit(self._waiting[0] <= batch["timestamp"][-1].as_py())

    def close(self) -> None:
        """See :class:`Sink`."""
        self._emit(np.ones(self._waiting.shape[1], dtype=np.bool_))
        self._file.close()

    def _emit(self, due: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        time, event = self._waiting[:, due]
        self._waiting = self._waiting[:, ~due]
        if not len(time):
            return
        order = np.lexsort((event, time))
        columns = [numbered("imp-", event[order], 3), pa.array(time[order])]
        rows = pa.RecordBatch.from_arrays(columns, names=["impression_id", "timestamp"])
        self._file.write(json_lines(rows))


class CsvSink:
    """Examples as CSV with a header line; list members with a space between."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._writer: pa_csv.CSVWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """See :class:`Sink`."""
        rows = pa.RecordBatch.from_pydict({n: _csv_column(batch[n]) for n in _EXAMPLE})
        if self._writer is None:
            options = pa_csv.WriteOptions(quoting_style="none", quoting_header="none")
            self._writer = pa_csv.CSVWriter(self._file, rows.schema, write_options=options)
        self._writer.write_batch(rows)

    def close(self) -> None:
        """See :class:`Sink`."""
        if self._writer is not None:
            self._writer.close()
        self._file.close()


class ParquetSink:
    """Examples as Parquet with zstd compression."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """See :class:`Sink`."""
        rows = batch.select(_EXAMPLE)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, rows.schema, compression="zstd")
        self._writer.write_batch(rows)

    def close(self) -> None:
        """See :class:`Sink`."""
        if self._writer is not None:
            self._writer.close()
        self._file.close()


SinkMaker = Callable[[ByteFile], Sink]


def stream_sinks(folder: Path) -> dict[Path, SinkMaker]:
    """Give the three files of a stream: what is served, what is clicked, and the truth."""
    return {
        folder / "impressions.jsonl": lambda file: JsonLinesSink(file, _SERVED),
        folder / "clicks.jsonl": ClickSink,
        folder / "truth.jsonl": lambda file: JsonLinesSink(file, _TRUTH),
    }


def example_sink(path: Path) -> dict[Path, SinkMaker]:
    """Give the one file of labelled rows, its format by its name.

    Raises
    ------
    ClicktideError
        A name that ends in no known format.
    """
    name = path.name.removesuffix(path.suffix) if path.suffix in COMPRESSED else path.name
    if name.endswith(".parquet") and name == path.name:
        return {path: ParquetSink}
    if name.endswith(".csv"):
        return {path: CsvSink}
    if name.endswith(".jsonl"):
        return {path: lambda file: JsonLinesSink(file, _EXAMPLE)}
    raise ClicktideError(
        f"{path}: examples cannot be written in this format. Fix: end the name in "
        f"{', '.join(EXAMPLE_SUFFIXES)}, the text formats also with .gz or .zst after it"
    )


def _csv_column(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        return pc.binary_join(column, " ")
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column
