"""The scorer: events to probabilities, the same bits as the trainer's and `clicktide predict`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.counters.names import COLUMN_PREFIX
from features.errors import RowError
from features.hashed import Hashed
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner, probabilities
from serving.ports import Features, Found, Weighing, Weights
from serving.problem import Problem
from streaming.sources.json_values import column_of

__all__ = ["Event", "Scored", "Scorer"]

F64 = NDArray[np.float64]
Uncertainty = Callable[[ClickLearner, Hashed], F64]
_MANY = 10
"""From so many events on, a batch of columns is quicker than one event after the other."""
_PER_MS = {"ms": 1, "us": 1000}
_NO_MODEL = "no model yet. Fix: start `clicktide train --live FILE`, then ask again"


@dataclass(slots=True)
class Event:
    """An event to score.

    Parameters
    ----------
    fields
        Column name to value.
    timestamp
        ms since 1970.
    counters
        Values to use instead of the store's, by name.
    """

    fields: Mapping[str, Any]
    timestamp: int
    counters: Mapping[str, float] | None = None


@dataclass(slots=True)
class Scored:
    """What came out, one place an event.

    Parameters
    ----------
    probability, logit
        float64 (events,).
    uncertainty
        float64 (events,): standard deviation of the logit; ``None`` if it is not known.
    version
        Of the weights.
    weights_age_s
        Since an event was last learned.
    counters
        float64 (events, values); NaN where missing. ``None``: the spec has no counters, or there
        was nothing to read them from.
    counters_age_s
        Since the store was read.
    fallbacks
        What each event lacked.
    lacked
        What the whole request lacked.
    """

    probability: F64
    logit: F64
    uncertainty: F64 | None
    version: str
    weights_age_s: float | None
    counters: F64 | None
    counters_age_s: float | None
    fallbacks: Sequence[tuple[str, ...]]
    lacked: tuple[str, ...]


class Scorer:
    """Scores events with the newest weights and counter values.

    Parameters
    ----------
    weights, features
        Where those come from; no features: events have the counter values that they carry.
    spec
        Of both.
    now_ms
        The clock.
    uncertainty
        Gives the standard deviations of logits.

    Attributes
    ----------
    value_names
        Of the counters, in the order of :attr:`Scored.counters`.
    known
        Names of fields that mean something.
    """

    def __init__(
        self,
        weights: Weights,
        features: Features | None,
        spec: Spec,
        now_ms: Callable[[], int],
        uncertainty: Uncertainty | None = None,
    ) -> None:
        self.weights, self.features, self.spec, self.now_ms = weights, features, spec, now_ms
        self.uncertainty = uncertainty
        of_fields = Vectoriser(msgspec.structs.replace(spec, counters=()))
        self._fields, self._of = of_fields, Vectoriser(spec)
        counters = self._of.counters
        self.value_names = tuple(counters.value_names) if counters is not None else ()
        self._columns = {COLUMN_PREFIX + name: i for i, name in enumerate(self.value_names)}
        self.known = frozenset((*_known(spec, self._of), *self._columns))
        self._scale = _PER_MS.get(spec.source.timestamp_format, 0)
        self._time = spec.source.timestamp if self._scale else ""
        self._none: tuple[tuple[str, ...], ...] = ((),)

    # --- scoring -------------------------------------------------------------------------

    def score(self, events: Sequence[Event]) -> Scored:
        """Score events.

        Raises
        ------
        Problem
            There are no weights yet (503), or a value is not what the spec declares (422).
        """
        weighing = self.weighing()
        values, age, fallbacks = self._counted(events)
        hashed = self.hash(weighing.learner, events, values)
        logit = weighing.learner.predict_hashed(hashed)
        weights_age = weighing.age_ms(self.now_ms())
        return Scored(
            probability=probabilities(logit),
            logit=logit,
            uncertainty=self._uncertainty(weighing.learner, hashed),
            version=weighing.version,
            weights_age_s=None if weights_age is None else weights_age / 1000,
            counters=values,
            counters_age_s=age,
            fallbacks=fallbacks,
            lacked=() if weighing.problem is None else (f"weights: {weighing.problem}",),
        )

    def weighing(self) -> Weighing:
        """Give the newest weights; a Problem if there are none."""
        weighing = self.weights.current()
        if weighing is None:
            raise Problem(503, _NO_MODEL, title="No model yet", headers={"Retry-After": "1"})
        return weighing

    def _uncertainty(self, learner: ClickLearner, hashed: Hashed) -> F64 | None:
        return None if self.uncertainty is None else self.uncertainty(learner, hashed)

    # --- counters ------------------------------------------------------------------------

    def _counted(
        self, events: Sequence[Event]
    ) -> tuple[F64 | None, float | None, Sequence[tuple[str, ...]]]:
        """Values of the counters, the store's or those that events carry; age and fallbacks."""
        if not self.value_names:
            return None, None, self._none * len(events)
        carried = [self._carried(event) for event in events]
        asked = [event for event, own in zip(events, carried, strict=True) if own is None]
        if self.features is None or not asked:
            return _filled(carried, None, len(self.value_names)), None, self._lacking(carried)
        found = self.features.fetch(
            [self.timed(event) for event in asked], max(event.timestamp for event in asked)
        )
        age = None if found.age_ms is None else found.age_ms / 1000
        if len(asked) == len(events):
            return found.values, age, _each(found, len(events))
        values = _filled(carried, found, len(self.value_names))
        return values, age, _spread(carried, _each(found, len(asked)))

    def _carried(self, event: Event) -> list[float] | None:
        """Counter values that an event brings along, in order."""
        given = event.counters
        if given is None and "counter:" not in "".join(event.fields):
            return None
        named = {COLUMN_PREFIX + name: value for name, value in (given or {}).items()}
        own = self._of.counters
        assert own is not None
        values = own.served_in_event({**event.fields, **named})
        return None if values is None and given is None else _row(values, len(self.value_names))

    def _lacking(self, carried: Sequence[Any]) -> list[tuple[str, ...]]:
        return [() if own is not None else ("counters: no feature store",) for own in carried]

    # --- hashing -------------------------------------------------------------------------

    def timed(self, event: Event) -> Mapping[str, Any]:
        """Fields of an event, its time among them, as the trainer reads it from the log."""
        if not self._time or event.fields.get(self._time) is not None:
            return event.fields
        return {**event.fields, self._time: event.timestamp * self._scale}

    def hash(self, learner: ClickLearner, events: Sequence[Event], values: F64 | None) -> Hashed:
        """Token hashes of events with these counter values.

        Raises
        ------
        Problem
            A value is not what the spec declares.
        """
        vectoriser = learner.vectoriser
        assert vectoriser is not None  # weights are made by a spec
        fields = self._fields
        fields.quantiles = vectoriser.quantiles
        rows = [self.timed(event) for event in events]
        batch = _columns(rows, fields.columns) if len(rows) >= _MANY else None
        hashed = _one_by_one(fields, rows) if batch is None else _at_once(fields, batch)
        counters = self._of.counters
        if counters is None:
            return hashed
        tokens = (
            np.tile(counters.missing, (len(rows), 1)) if values is None else counters.tokens(values)
        )
        return _with_tokens(hashed, tokens)


def _known(spec: Spec, vectoriser: Vectoriser) -> list[str]:
    source = spec.source
    meant = [source.label, source.timestamp, source.event_id, source.weight, source.truth]
    counted = vectoriser.counters.columns if vectoriser.counters is not None else ()
    return [*vectoriser.columns, *counted, *filter(None, (*meant, source.click_delay))]


def _row(values: F64 | None, width: int) -> list[float]:
    row: list[float] = [np.nan] * width if values is None else values[0].tolist()
    return row


def _filled(carried: Sequence[list[float] | None], found: Found | None, width: int) -> F64 | None:
    """One row an event: what it carries, else what was found, else nothing."""
    if found is None and all(own is None for own in carried):
        return None
    out = np.full((len(carried), width), np.nan)
    at = 0
    for i, own in enumerate(carried):
        if own is not None:
            out[i] = own
            continue
        if found is not None and found.values is not None:
            out[i] = found.values[at]
        at += 1
    return out


def _each(found: Found, events: int) -> Sequence[tuple[str, ...]]:
    """Fallbacks one place an event, also where they are all the same."""
    fallbacks = found.fallbacks
    if len(fallbacks) == events:
        return fallbacks
    return (fallbacks[0] if fallbacks else (),) * events


def _spread(carried: Sequence[Any], fallbacks: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    rest = iter(fallbacks)
    return [next(rest) if own is None else () for own in carried]


# Hashing many


def _columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pa.RecordBatch | None:
    """Columns of some rows; ``None`` where a column cannot hold its values exactly."""
    arrays = []
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = {*map(type, values)} - {type(None)}
        if dict in kinds or (list in kinds and len(kinds) > 1):
            return None
        try:
            arrays.append(column_of(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            return None
    if not arrays:
        return None
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _at_once(vectoriser: Vectoriser, batch: pa.RecordBatch) -> Hashed:
    hashed, faults = vectoriser.hash_batch(batch)
    if faults:
        row = int(np.flatnonzero(faults.field)[0])
        field = vectoriser.fields[faults.field[row] - 1]
        raise _misfit(field.column, field.transform, row, batch.num_rows)
    return hashed


def _one_by_one(vectoriser: Vectoriser, rows: Sequence[Mapping[str, Any]]) -> Hashed:
    parts = []
    for i, row in enumerate(rows):
        try:
            parts.append(vectoriser.hash_event(row))
        except RowError:
            raise _fault(vectoriser, rows, i) from None
    return parts[0] if len(parts) == 1 else _joined(parts, len(vectoriser.fields))


def _fault(vectoriser: Vectoriser, rows: Sequence[Mapping[str, Any]], row: int) -> Problem:
    """Which field of a row is at fault."""
    for field in vectoriser.fields:
        try:
            vectoriser.hash_event({field.column: rows[row].get(field.column)})
        except RowError:
            return _misfit(field.column, field.transform, row, len(rows))
    return Problem(422, "a value is not what the spec declares")


def _misfit(column: str, transform: str, row: int, rows: int) -> Problem:
    place = f"impressions[{row}].fields.{column}" if rows > 1 else f"fields.{column}"
    return Problem(422, f"this value does not suit the field's transform, {transform}", place)


def _joined(parts: Sequence[Hashed], fields: int) -> Hashed:
    """Several events' hashes as those of a batch."""
    tokens = np.concatenate([part.tokens for part in parts])
    if not any(len(part.starts) for part in parts):
        return Hashed(tokens, parts[0].starts, len(parts), fields)
    counts = [
        np.diff(part.starts) if len(part.starts) else np.ones(fields, np.int64) for part in parts
    ]
    starts = np.zeros(len(parts) * fields + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=starts[1:])
    return Hashed(tokens, starts, len(parts), fields)


def _with_tokens(hashed: Hashed, tokens: NDArray[np.uint64]) -> Hashed:
    """Put (events, more) tokens, one a field, behind those of each event."""
    rows, fields, more = hashed.rows, hashed.fields, tokens.shape[1]
    if not len(hashed.starts):
        both = np.concatenate([hashed.tokens.reshape(rows, fields), tokens], axis=1)
        return Hashed(both.reshape(-1), hashed.starts, rows, fields + more)
    first = hashed.starts[: rows * fields].reshape(rows, fields)
    shift = more * np.arange(rows)[:, None]
    ends = hashed.starts[fields::fields].reshape(rows, 1)
    after = ends + shift + np.arange(more)
    starts = np.append(np.hstack([first + shift, after]).reshape(-1), 0)
    starts[-1] = hashed.starts[-1] + rows * more
    out = np.empty(len(hashed.tokens) + tokens.size, np.uint64)
    out[after.reshape(-1)] = tokens.reshape(-1)
    per_row = np.diff(hashed.starts[::fields])
    out[np.arange(len(hashed.tokens)) + np.repeat(shift[:, 0], per_row)] = hashed.tokens
    return Hashed(out, starts, rows, fields + more)
