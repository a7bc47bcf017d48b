"""The command ``clicktide predict``: a log scored by a saved model; nothing is learned."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, BinaryIO, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from clicktide.interrupts import Stopped, StopRequest, stop_request
from clicktide.logs import estimated_rows, open_log
from clicktide.rejects import RejectSink
from clicktide.show import number
from features.errors import ClicktideError, SourceError
from features.hashed import Hashed
from features.spec import SourceSpec, Spec
from features.spec_file import load_spec
from features.values import text_column
from features.vectoriser import Faults, Vectoriser
from learning.click_learner import ClickLearner, probabilities
from learning.metrics import Tally
from learning.snapshot import load_snapshot
from streaming.prepare import Preparer, Ready
from streaming.sources import Batch, open_source
from streaming.sources.ordered import ordered_map

__all__ = ["predict"]

_STDIO = "-"
_OPTIONAL = ("label", "event_id", "timestamp", "weight", "truth")


def predict(
    log: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file or folder (CSV, TSV, JSON Lines, Parquet; plain, gzip or zstd), - for "
            "standard input, or sim:NAME",
        ),
    ],
    model: Annotated[Path, typer.Option("--model", help="Folder given to clicktide replay --save")],
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .csv or .parquet; - for CSV on stdout")
    ],
    spec: Annotated[
        str | None,
        typer.Option("--spec", help="Where this log keeps its columns, if not as the model's log"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists")] = False,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", help="Keep every bad row, with its reason, as JSON Lines"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object")
    ] = False,
) -> None:
    """Score a log by a saved model: a click probability for every event.

    Written are the event's id (its row number where the spec names none or
    the log lacks it), the probability and, where the log has it, the label.
    With labels, the figures of the predictions are shown.

    clicktide predict tomorrow.csv --model model --out scored.parquet

    zcat log.jsonl.gz | clicktide predict - --model model --out - > scored.csv
    """
    _check_out(log, out, force)
    layout = load_spec(spec) if spec else None
    learner = load_snapshot(model, layout).learner
    run = Run(log, learner, RejectSink(rejects, strict=strict, append=False))
    said = Console(stderr=True)
    try:
        with stop_request() as request, run.on_reject:
            batches, source = _open(log, layout or run.spec, run.vectoriser.columns)
            run.go(batches, RowReader(run.vectoriser, source), out, request)
    except (Stopped, KeyboardInterrupt):
        said.print(f"Stopped; {out} is not complete and was not kept.", markup=False)
        raise typer.Exit(130) from None
    _show(run.summary(), out, as_json)


@dataclass
class Run:
    """One call of the command, and how it went."""

    log: str
    learner: ClickLearner
    on_reject: RejectSink
    labelled: bool = False
    tally: Tally = field(default_factory=Tally)
    rejected: Counter[str] = field(default_factory=Counter)
    events: int = 0
    expected: float = 0.0
    seconds: float = 0.0

    @property
    def vectoriser(self) -> Vectoriser:
        """The model's."""
        assert self.learner.vectoriser is not None  # a snapshot has one
        return self.learner.vectoriser

    @property
    def spec(self) -> Spec:
        """The model's."""
        return self.vectoriser.spec

    def go(
        self, batches: Generator[Batch], read: RowReader, out: Path, request: StopRequest
    ) -> None:
        """Score to the end, in order; reading and hashing run in threads beside."""
        start = perf_counter()
        self.labelled = bool(read.source.label)
        with (
            closing(ordered_map(read, batches, workers=1, in_flight=3)) as parts,
            _written(out, read.schema) as write,
            _bar(estimated_rows(self.log)) as advance,
        ):
            for part in parts:
                for reject in part.ready.rejects:
                    self.rejected[reject.reason] += 1
                    self.on_reject(reject)
                write(pa.RecordBatch.from_arrays(self.score(part), schema=read.schema))
                self.seconds = perf_counter() - start
                advance(self.events, self.seconds)
                request.check()

    def score(self, rows: Rows) -> list[pa.Array]:
        """Columns of the output."""
        ready = rows.ready
        logits = self.learner.predict_hashed(ready.hashed)
        p = probabilities(logits)
        self.events += len(p)
        self.expected += float(p.sum())
        if not self.labelled:
            return [rows.ids, pa.array(p)]
        self.tally.add(logits, ready.labels, ready.importance, ready.truth)
        return [rows.ids, pa.array(p), pa.array(ready.labels.astype(np.int8))]

    def summary(self) -> dict[str, Any]:
        """What ``--json`` prints; figures that need labels are null without."""
        figures: dict[str, Any] = msgspec.to_builtins(self.tally.figures())
        return figures | {
            "source": self.log,
            "events": self.events,
            "mean_prediction": self.expected / self.events if self.events else None,
            "clicks": figures["clicks"] if self.labelled else None,
            "rejected": sum(self.rejected.values()),
            "rejected_by_reason": dict(sorted(self.rejected.items())),
            "seconds": round(self.seconds, 4),
            "events_per_second": round(self.events / self.seconds, 1) if self.seconds else None,
        }


# Reading


def _open(log: str, spec: Spec, needed: tuple[str, ...]) -> tuple[Generator[Batch], SourceSpec]:
    """Open a log with as many of the optional columns as it has; those it lacks become empty."""
    given = {key: getattr(spec.source, key) for key in _OPTIONAL if getattr(spec.source, key)}
    stdin = _Rereadable() if log == _STDIO else None
    subsets = chain.from_iterable(combinations(given, n) for n in range(len(given), -1, -1))
    for kept in subsets:
        columns = list(dict.fromkeys([*needed, *(given[key] for key in kept)]))
        try:
            if stdin is None:
                batches = open_log(log, spec, columns, None)
            else:
                batches = open_source(log, spec.source, columns, stdin=stdin.from_start())
            first = next(batches, None)
        except SourceError:
            if not kept:
                raise
            continue
        if stdin is not None:
            stdin.keeps = False
        absent = dict.fromkeys((key for key in given if key not in kept), "")
        return _resumed(first, batches), msgspec.structs.replace(spec.source, **absent)
    raise AssertionError("the last subset is empty: it returns or raises")


def _resumed(first: Batch | None, rest: Generator[Batch]) -> Generator[Batch]:
    with closing(rest):
        if first is not None:
            yield first
        yield from rest


class _Rereadable(io.RawIOBase):
    """Standard input that can be read from its start again, while it keeps what it read."""

    def __init__(self) -> None:
        # Unbuffered: a thread waiting in sys.stdin.buffer would hold its lock at exit.
        self._raw = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
        self._read, self._again, self.keeps = bytearray(), b"", True

    def from_start(self) -> BinaryIO:
        self._again = bytes(self._read)
        return cast(BinaryIO, self)

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes; none at the end."""
        if self._again:
            piece, self._again = self._again[:size], self._again[size:]
            return piece
        piece = self._raw.read(size) or b""
        self._read = self._read + piece if self.keeps else bytearray()
        return piece


class _Frozen(Vectoriser):
    """Hashes by what was learned of the quantiles, and learns no more."""

    def hash_batch(self, batch: pa.RecordBatch, *, learn: bool = False) -> tuple[Hashed, Faults]:
        return super().hash_batch(batch)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows ready to be scored, and the event id (text) or row number (int64) of each."""

    ready: Ready
    ids: pa.Array


class RowReader:
    """Makes batches, taken in order, ready to be scored.

    Parameters
    ----------
    vectoriser
        Of the model.
    source
        Which column is what; empty for those that the log lacks.
    """

    def __init__(self, vectoriser: Vectoriser, source: SourceSpec) -> None:
        self.source = source
        self._label = source.label or vectoriser.spec.source.label
        frozen = _Frozen(vectoriser.spec)
        frozen.quantiles.restore(vectoriser.quantiles.state())
        self._prepare = Preparer(frozen, msgspec.structs.replace(source, label=self._label))
        self._file, self._before, self._end = "", 0, 0

    @property
    def schema(self) -> pa.Schema:
        """Columns of the output."""
        source = self.source
        ids = (source.event_id, pa.string()) if source.event_id else ("row", pa.int64())
        label = [(source.label, pa.int8())] if source.label else []
        return pa.schema([ids, ("probability", pa.float64()), *label])

    def __call__(self, batch: Batch) -> Rows:
        """Check and hash a batch as replay does, so that the same rows are rejects."""
        bad: list[int] = []

        def origin(row: int) -> tuple[int, bytes]:
            bad.append(row)  # the preparer asks where the rows stand that it rejects
            return batch.origin(row)

        rows = batch.columns
        if not self.source.label:
            none = pa.array(np.zeros(rows.num_rows, np.int8))
            rows = rows.append_column(self._label, none)
        ready = self._prepare(replace(batch, columns=rows, origin=origin))
        kept = np.delete(np.arange(rows.num_rows), bad)
        assert len(kept) == ready.hashed.rows
        return Rows(ready, self._ids(batch).take(pa.array(kept)))

    def _ids(self, batch: Batch) -> pa.Array:
        if self.source.event_id:
            return text_column(batch.columns.column(self.source.event_id)).cast(pa.string())
        return pa.array(self._row_numbers(batch), pa.int64())

    def _row_numbers(self, batch: Batch) -> NDArray[np.int64]:
        """From 1, rejects counted; in a folder they go on from file to file."""
        if batch.file != self._file:
            self._file, self._before = batch.file, self._before + self._end
        self._end = batch.position.row
        rows = batch.columns.num_rows
        first = batch.positions(0).row if rows else 0
        if rows and batch.positions(rows - 1).row - first == rows - 1:
            return self._before + np.arange(first, first + rows)
        numbers = (batch.positions(i).row for i in range(rows))
        return self._before + np.fromiter(numbers, np.int64, rows)


# Writing


def _check_out(log: str, out: Path, force: bool) -> None:
    if str(out) == _STDIO:
        return
    if out.suffix not in (".csv", ".parquet"):
        raise ClicktideError(f"{out}: what format is this? Fix: end the name in .csv or .parquet")
    if out.is_dir():
        raise ClicktideError(f"{out}: this is a folder. Fix: name a file in it")
    if out.exists() and os.path.exists(log) and out.samefile(log):
        raise ClicktideError(f"{out}: this is the log itself. Fix: name another file")
    if out.exists() and not force:
        raise ClicktideError(f"{out}: exists already. Fix: --force replaces it")


Write = Callable[[pa.RecordBatch], None]


@contextmanager
def _written(out: Path, schema: pa.Schema) -> Iterator[Write]:
    """Write batches; the file appears at the end, complete, or not at all."""
    if str(out) == _STDIO:
        yield _csv(sys.stdout.buffer, schema)
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            if out.suffix == ".csv":
                yield _csv(file, schema)
            else:
                with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                    yield writer.write_batch
        partial.replace(out)
    except OSError as error:
        raise ClicktideError(
            f"{out}: cannot be written: {error.strerror or error}. "
            "Fix: choose a folder that can be written to and has room"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _csv(file: BinaryIO, schema: pa.Schema) -> Write:
    """Write the header; return what writes rows. Probabilities read back to the same bits."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(schema.names)
    file.write(header.getvalue().encode())

    def write(rows: pa.RecordBatch) -> None:
        style = "needed" if _needs_quotes(rows.column(0)) else "none"
        sink = pa.BufferOutputStream()
        options = pa_csv.WriteOptions(include_header=False, quoting_style=style)
        pa_csv.write_csv(rows, sink, options)
        file.write(sink.getvalue())

    return write


def _needs_quotes(ids: pa.Array) -> bool:
    """Whether an id is not plain text; then Arrow quotes them all."""
    if not pa.types.is_string(ids.type):
        return False
    return bool(pc.any(pc.match_substring_regex(ids, '[",\r\n]')).as_py())


# Showing


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int, float], None]]:
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=total, rate="")

        def advance(events: int, seconds: float) -> None:
            bar.update(task, completed=events, rate=f"{events / seconds:,.0f} events/s")

        yield advance


def _show(summary: dict[str, Any], out: Path, as_json: bool) -> None:
    """On standard error where the rows went to standard output."""
    aside = str(out) == _STDIO
    if as_json:
        typer.echo(msgspec.json.encode(summary).decode(), err=aside)
    else:
        Console(stderr=aside).print(_table(summary, out))


def _table(summary: dict[str, Any], out: Path) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right", overflow="fold")
    table.add_row("source", Text(summary["source"]))
    table.add_row("events", f"{summary['events']:,}")
    table.add_row("mean prediction", number(summary["mean_prediction"]))
    if summary["clicks"] is not None:
        low, high = number(summary["calibration_low"], 4), number(summary["calibration_high"], 4)
        table.add_row("clicks", f"{summary['clicks']:,.0f}")
        table.add_row("log loss", number(summary["log_loss"]))
        table.add_row("normalised entropy", number(summary["normalised_entropy"]))
        table.add_row("AUC", number(summary["auc"]))
        table.add_row("calibration ratio", number(summary["calibration_ratio"], 4))
        table.add_row("  its 95 % interval", f"{low} to {high}")
    if summary["excess_log_loss"] is not None:
        table.add_row("excess log loss", number(summary["excess_log_loss"]))
    table.add_row("events/s", f"{summary['events_per_second'] or 0:,.0f}")
    table.add_row("rejected", f"{summary['rejected']:,}")
    for reason, count in summary["rejected_by_reason"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    if str(out) != _STDIO:
        table.add_row("written", Text(str(out)))
    return table
