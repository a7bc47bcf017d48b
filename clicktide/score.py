"""Scoring: a log through a saved model: read, vectorise, predict; nothing is learned."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clicktide.click_log import open_log
from features.errors import ClicktideError, SourceError
from features.spec import SourceSpec, Spec
from features.values import text_column
from learning.click_learner import ClickLearner, probabilities
from learning.metrics import Tally
from market import COLUMNS, PREFIX
from streaming.prepare import Preparer, Ready
from streaming.sources import Batch, Reject, open_source, sample_log
from streaming.sources.reader import ordered_map

__all__ = [
    "PROBABILITY",
    "Scoring",
    "columns_to_keep",
    "list_separators",
    "open_to_score",
]

PROBABILITY, ROW = "probability", "row"

_STDIN = "-"
_LOOKED_AT = 10_000
_OPTIONAL = ("label", "event_id", "timestamp", "weight", "truth")


def columns_to_keep(log: str, keep: str, spec: Spec) -> list[str]:
    """Columns of a log that ``--keep`` names; ``all``: those that can be read."""
    names = [name.strip() for name in keep.split(",") if name.strip()]
    if names != ["all"]:
        return names
    if log.startswith(PREFIX):
        return list(COLUMNS)
    return list(spec.source.columns) or sample_log(log, _LOOKED_AT).rows.column_names


def list_separators(spec: Spec) -> dict[str, str]:
    """What stands between the members of a list, by column, where the spec reads lists."""
    fields = [field for field in spec.fields if field.transform == "categories"]
    return {(field.column or name): field.separator for field in fields for name in field.names}


class Scoring:
    """A log on its way through a model.

    Parameters
    ----------
    learner
        The model; it has a spec.
    source
        Which column of the log is what; empty for those that it lacks.
    keep
        Columns of the log that are written as they are, beside its time.

    Attributes
    ----------
    events
        Scored so far.
    rejected
        Rows rejected so far, by reason.
    """

    def __init__(self, learner: ClickLearner, source: SourceSpec, keep: Sequence[str] = ()) -> None:
        assert learner.vectoriser is not None  # a learner without a spec cannot be saved
        self.events = 0
        self.rejected: Counter[str] = Counter()
        self._learner = learner
        if source.views:  # what is scored is a row, not its impressions
            source = msgspec.structs.replace(source, label="", views="")
        self._source = source
        own = (source.event_id, source.label)
        kept = (name for name in (source.timestamp, *keep) if name and name not in own)
        self._keep = list(dict.fromkeys(kept))
        _check_names(self._keep, source)
        self._prepare = Preparer(learner.vectoriser, source, learn=False)
        self._numbers = _RowNumbers()
        self._tally = Tally()
        self._expected = 0.0

    @property
    def names(self) -> list[str]:
        """Columns that :meth:`run` writes: id or row number, probability, label, time, the kept.

        The label, 0 or 1, and the time are there if the log has them.
        """
        source = self._source
        label = [source.label] if source.label else []
        return [source.event_id or ROW, PROBABILITY, *label, *self._keep]

    def run(
        self,
        batches: Generator[Batch],
        *,
        on_reject: Callable[[Reject], None],
        write: Callable[[pa.RecordBatch], None],
        on_batch: Callable[[], None],
    ) -> None:
        """Score to the end, in order; reading and hashing run in threads beside.

        Parameters
        ----------
        batches
            From a source; closed at the end.
        on_reject
            Called with every bad row, before its batch is scored; may raise.
        write
            Called with every batch of scored events.
        on_batch
            Called after every batch; may raise.
        """
        with closing(ordered_map(self._read, batches, workers=1, in_flight=3)) as parts:
            for ready, ids, kept in parts:
                for reject in ready.rejects:
                    self.rejected[reject.reason] += 1
                    on_reject(reject)
                write(self._score(ready, ids, kept))
                on_batch()

    def figures(self) -> dict[str, Any]:
        """Everything so far as plain data; figures that need labels are null without."""
        figures: dict[str, Any] = msgspec.to_builtins(self._tally.figures())
        return figures | {
            "events": self.events,
            "mean_prediction": self._expected / self.events if self.events else None,
            "clicks": figures["clicks"] if self._source.label else None,
            "rejected": sum(self.rejected.values()),
            "rejected_by_reason": dict(sorted(self.rejected.items())),
        }

    def _read(self, batch: Batch) -> tuple[Ready, pa.Array, list[pa.Array]]:
        """Events ready to be scored, the id (text) or row number (int64) of each, what is kept."""
        ready = self._prepare(batch)
        rows = pa.array(ready.rows)
        kept = [_simple_column(batch.columns.column(name).take(rows)) for name in self._keep]
        if not self._source.event_id:
            return ready, pa.array(self._numbers(batch)[ready.rows]), kept
        ids = text_column(batch.columns.column(self._source.event_id)).cast(pa.string())
        return ready, ids.take(rows), kept

    def _score(self, ready: Ready, ids: pa.Array, kept: list[pa.Array]) -> pa.RecordBatch:
        logits = self._learner.predict_hashed(ready.hashed)
        p = probabilities(logits)
        self.events += len(p)
        self._expected += float(p.sum())
        columns = [ids, pa.array(p)]
        if self._source.label:
            self._tally.add(logits, ready.labels, ready.importance, ready.truth)
            columns.append(pa.array(ready.labels.astype(np.int8)))
        return pa.RecordBatch.from_arrays([*columns, *kept], names=self.names)


def _check_names(keep: Sequence[str], source: SourceSpec) -> None:
    """Refuse two columns of one name in what is written."""
    own = {PROBABILITY} if source.event_id else {PROBABILITY, ROW}
    for name in (*keep, source.event_id, source.label):
        if name in own:
            raise ClicktideError(
                f"the log has a column {name!r} itself, which the predictions need. "
                "Fix: name the columns to keep, without it: --keep COLUMN,COLUMN"
            )


def _simple_column(column: pa.Array) -> pa.Array:
    """A column in a type that every format of the scored file knows."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        texts = (None if b is None else b.decode("utf-8", "replace") for b in column.to_pylist())
        return pa.array(list(texts), pa.string())
    return column


class _RowNumbers:
    """Numbers rows from 1, rejects counted; in a folder on from file to file."""

    def __init__(self) -> None:
        self._file, self._before, self._end = "", 0, 0

    def __call__(self, batch: Batch) -> NDArray[np.int64]:
        """Numbers of the rows of the batch that comes next."""
        if batch.file != self._file:
            self._file, self._before = batch.file, self._before + self._end
        self._end = batch.position.row
        rows = batch.columns.num_rows
        first = batch.positions(0).row if rows else 0
        if rows and batch.positions(rows - 1).row - first == rows - 1:
            return self._before + np.arange(first, first + rows)
        numbers = (batch.positions(i).row for i in range(rows))
        return self._before + np.fromiter(numbers, np.int64, rows)


def open_to_score(
    log: str, spec: Spec, fields: tuple[str, ...], served: Sequence[str] = ()
) -> tuple[Generator[Batch], SourceSpec]:
    """Open a log with as many of the columns beside its fields as it has.

    Parameters
    ----------
    log
        A file, a folder, ``-`` or ``sim:NAME``.
    spec
        Where the log keeps its columns.
    fields
        Columns that it must have.
    served
        Columns of counter values, as they were served, which it may have.

    Returns
    -------
    batches
        From its start.
    source
        The spec's, with an empty name for every column that the log lacks.

    Raises
    ------
    SourceError
        It cannot be read, or lacks a column of ``fields``.
    """
    given = {key: getattr(spec.source, key) for key in _OPTIONAL if getattr(spec.source, key)}
    stdin = _Rereadable() if log == _STDIN else None

    def opened(columns: Sequence[str]) -> Generator[Batch]:
        """The batches, the first of them read: then it is known whether the columns are there."""
        batches = _open(log, spec, [*fields, *columns], stdin)
        return _resumed(next(batches, None), batches)

    def has(column: str) -> bool:
        try:
            with closing(opened([column])) as batches:
                next(batches, None)  # begun, so that closing it closes the log
        except SourceError:
            return False
        return True

    wanted = list(dict.fromkeys([*given.values(), *(() if log.startswith(PREFIX) else served)]))
    try:
        present, batches = wanted, opened(wanted)
    except SourceError:
        present = [column for column in wanted if has(column)]
        batches = opened(present)
    if stdin is not None:
        stdin.keeps = False
    absent = {key: "" for key, column in given.items() if column not in (*present, *fields)}
    return batches, msgspec.structs.replace(spec.source, **absent)


def _open(log: str, spec: Spec, columns: list[str], stdin: _Rereadable | None) -> Generator[Batch]:
    columns = list(dict.fromkeys(columns))
    if stdin is None:
        return open_log(log, spec, columns, None)
    return open_source(log, spec.source, columns, stdin=stdin.from_start())


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
        self._read, self._again, self.keeps = b"", b"", True

    def from_start(self) -> BinaryIO:
        self._again = self._read
        return cast(BinaryIO, self)

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes; none at the end."""
        if self._again:
            piece, self._again = self._again[:size], self._again[size:]
            return piece
        piece = self._raw.read(size) or b""
        self._read = self._read + piece if self.keeps else b""
        return piece
