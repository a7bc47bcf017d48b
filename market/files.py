"""A simulation written to files: events as served, clicks, the truth, examples; JSON, CSV, Parquet.

All files appear at the end, complete, or none does.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features.errors import ClicktideError
from features.whole_file import refuse_existing
from market.columns import COLUMNS, json_lines, numbered
from market.simulation import Simulation

__all__ = [
    "COMPRESSED",
    "EXAMPLE_SUFFIXES",
    "ByteFile",
    "Sink",
    "SinkMaker",
    "Written",
    "example_sink",
    "stream_sinks",
    "write_simulation",
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


_BUFFER = 1 << 20
_GZIP_LEVEL = 1  # the default of 9 takes seven times as long for files a third smaller


class Written(msgspec.Struct, frozen=True):
    """What was written.

    Parameters
    ----------
    events, clicks
        How many.
    click_rate, mean_p_true
        Share of clicks, and the mean of the probabilities they were drawn with.
    files
        Paths of the files.
    """

    events: int
    clicks: int
    click_rate: float
    mean_p_true: float
    files: list[str]


def write_simulation(
    simulation: Simulation,
    sinks: Mapping[Path, SinkMaker],
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda events: None,
) -> Written:
    """Write a simulation that has an end.

    Parameters
    ----------
    simulation
        What to write; its ``events`` must be given.
    sinks
        What makes the content of each file: that of ``stream_sinks``, ``example_sink``,
        or both.
    overwrite
        Whether existing files may be replaced.
    progress
        Told the number of events after each batch.

    Raises
    ------
    ClicktideError
        A file exists, cannot be created or cannot be written (a full disk); nothing is left.
    """
    if simulation.events is None:
        raise ClicktideError("a simulation without end cannot be written. Fix: give `events`")
    clicks, p_true = 0, 0.0
    with _files(sinks, overwrite) as open_sinks:
        for batch in simulation.batches():
            for sink in open_sinks:
                sink.write(batch)
            clicks += pc.sum(batch["click"]).as_py()
            p_true += pc.sum(batch["p_true"]).as_py()
            progress(batch.num_rows)
    events = simulation.events
    return Written(events, clicks, clicks / events, p_true / events, [str(path) for path in sinks])


@contextmanager
def _files(sinks: Mapping[Path, SinkMaker], overwrite: bool) -> Iterator[list[Sink]]:
    """Open a sink per file; all files appear at the end, or none."""
    partial = {path: path.with_name(f".{path.name}.partial-{os.getpid()}") for path in sinks}
    try:
        for path in () if overwrite else sinks:
            refuse_existing(path)
        with ExitStack() as after_failure:
            opened = [_open(path, partial[path], sinks[path], after_failure) for path in sinks]
            yield [sink for sink, _ in opened]
            for sink, raw in opened:
                sink.close()
                raw.close()
        for path in sinks:
            partial[path].replace(path)
    except OSError as error:
        raise ClicktideError(
            f"{', '.join(map(str, sinks))}: cannot be written: {error.strerror or error}. "
            "Fix: choose a folder that can be written to and has room"
        ) from error
    finally:
        for path in partial.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _open(
    path: Path, partial: Path, make: SinkMaker, after_failure: ExitStack
) -> tuple[Sink, BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = partial.open("wb", buffering=_BUFFER)
    after_failure.callback(_close_quietly, raw)
    sink = make(_compressed(raw, path.suffix))
    after_failure.callback(_close_quietly, sink)
    return sink, raw


def _compressed(raw: BinaryIO, suffix: str) -> ByteFile:
    if suffix == ".gz":
        # No time and no name inside: the same simulation gives the same bytes.
        return gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0)
    if suffix == ".zst":
        compressed: ByteFile = pa.CompressedOutputStream(raw, "zstd")
        return compressed
    return raw


def _close_quietly(file: Sink | BinaryIO) -> None:
    """Close after a failure, whose own error is the one to tell; a second close does nothing."""
    with suppress(OSError, ValueError):
        file.close()
