"""Simulations written to files: all files appear at the end, complete, or none does."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import ClicktideError
from market.simulation import Simulation
from market.sinks import ByteFile, Sink, SinkMaker

__all__ = ["Written", "write_simulation"]

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
        What makes the content of each file: that of ``sinks.stream_sinks``, ``sinks.example_sink``,
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


def _refuse_existing(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise ClicktideError(f"{path}: exists already. Fix: --force replaces it")


@contextmanager
def _files(sinks: Mapping[Path, SinkMaker], overwrite: bool) -> Iterator[list[Sink]]:
    """Open a sink per file; all files appear at the end, or none."""
    partial = {path: path.with_name(f".{path.name}.partial-{os.getpid()}") for path in sinks}
    try:
        if not overwrite:
            _refuse_existing(sinks)
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
