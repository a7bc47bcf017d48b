"""The scorer: events to probabilities, the same bits as the trainer's and `clicktide predict`'s."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.names import COLUMN_PREFIX
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import probabilities
from monitoring.watch.repair.table import RepairTable, repaired, with_repairs
from serving.event_batch import MANY, EventBatch, ScoredEvents, SharedFields
from serving.hasher import EventHasher
from serving.problem import Problem
from serving.request_features import FeatureSource, Fetched
from serving.weights import CurrentWeights, WeightsSource

__all__ = ["Scorer"]

F64 = NDArray[np.float64]
_PER_MS = {"ms": 1.0, "us": 1000.0, "s": 0.001}
_NO_MODEL = "no model yet. Fix: start `clicktide train --live FILE`, then ask again"
_NO_STORE = ("store:none",)


class Scorer:
    """Scores events with the newest weights and counter values. For one thread.

    Parameters
    ----------
    weights, features
        Where those come from; no features: events have the counter values that they carry.
    spec
        Of both.
    now_ms
        The clock.
    repairs
        Gives the slices that are repaired; ``None``: none are.

    Attributes
    ----------
    value_names
        Of the counters, in the order of :attr:`ScoredEvents.counters`.
    known
        Names of fields that mean something.
    hasher
        Makes the tokens.
    """

    def __init__(
        self,
        weights: WeightsSource,
        features: FeatureSource | None,
        spec: Spec,
        now_ms: Callable[[], int],
        repairs: Callable[[], RepairTable | None] | None = None,
    ) -> None:
        self.repairs = repairs
        self.weights, self.features, self.spec, self.now_ms = weights, features, spec, now_ms
        self._waiting: list[tuple[EventBatch, asyncio.Future[ScoredEvents]]] = []
        self.hasher = EventHasher(spec)
        vectoriser = Vectoriser(spec)
        self._counters = vectoriser.counters
        self.value_names = tuple(self._counters.value_names) if self._counters is not None else ()
        columns = [COLUMN_PREFIX + name for name in self.value_names]
        self.known = frozenset((*_known_columns(spec, vectoriser), *columns))
        self._carriers = frozenset(columns)
        self._scale = _PER_MS.get(spec.source.timestamp_format, 0.0)
        self._time = spec.source.timestamp if self._scale else ""

    # --- scoring -------------------------------------------------------------------------

    def score(self, events: EventBatch) -> ScoredEvents:
        """Score events; waits for the store.

        Raises
        ------
        Problem
            There are no weights yet (503), or a value is not what the spec declares (422).
        """
        [counted] = self._count([events])
        return self._finish(events, counted)

    async def score_soon(self, events: EventBatch) -> ScoredEvents:
        """Score events, with those that others ask for in the same turn of the event loop.

        A round trip to the store and a walk through the weights cost little more for ten events
        than for one; nobody waits for it, for only those are gathered that are there already.
        """
        loop = asyncio.get_running_loop()
        scored: asyncio.Future[ScoredEvents] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((events, scored))
        return await scored

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        answers = self._score_all([events for events, _ in waiting])
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():  # its client may have gone
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _score_all(self, asked: list[EventBatch]) -> Sequence[ScoredEvents | Exception]:
        """Score several requests; what is wrong with one of them is no other one's affair."""
        if len(asked) > 1:
            with contextlib.suppress(Exception):
                return self._score_together(asked)
        return [self._score_alone(events) for events in asked]

    def _score_alone(self, events: EventBatch) -> ScoredEvents | Exception:
        try:
            return self.score(events)
        except Exception as error:
            return error

    def _score_together(self, asked: list[EventBatch]) -> list[ScoredEvents]:
        """One round trip to the store, and one walk through the weights for all small ones."""
        parts = [*zip(asked, self._count(asked), strict=True)]
        few = iter(self._finish_few([one for one in parts if len(one[0].fields) < MANY]))
        return [
            next(few) if len(events.fields) < MANY else self._finish(events, counted)
            for events, counted in parts
        ]

    def _finish_few(self, parts: Sequence[tuple[EventBatch, _Counted]]) -> list[ScoredEvents]:
        """Score requests as if they were one."""
        if not parts:
            return []
        rows = [row for events, _ in parts for row in self._timed(events)]
        fallbacks = [of for _, counted in parts for of in counted.fallbacks]
        values = None
        if self.value_names:
            values = np.concatenate([c.values for _, c in parts if c.values is not None])
        whole = self._scored(rows, _Counted(values, None, fallbacks))
        out, at = [], 0
        for events, counted in parts:
            end = at + len(events.fields)
            out.append(whole.part(at, end, counted.age_s))
            at = end
        return out

    def _finish(self, events: EventBatch, counted: _Counted) -> ScoredEvents:
        return self._scored(self._timed(events), counted)

    def _scored(self, rows: Sequence[Mapping[str, Any]], counted: _Counted) -> ScoredEvents:
        weights = self.current_weights()
        learner = weights.learner
        assert learner.vectoriser is not None  # weights are made by a spec
        hashed = self.hasher.hash(learner.vectoriser, rows, counted.values)
        logit, sd = learner.weights_for(hashed).predict_with_deviation(hashed)
        age, problem = weights.age_ms(self.now_ms()), weights.problem
        table = None if self.repairs is None else self.repairs()
        scored = ScoredEvents(
            probability=probabilities(logit),
            logit=logit,
            uncertainty=sd,
            version=weights.version if table is None else with_repairs(weights.version, table),
            weights_age_s=None if age is None else age / 1000,
            counters=counted.values,
            counters_age_s=counted.age_s,
            fallbacks=counted.fallbacks,
            lacked=() if problem is None else (f"weights: {problem}",),
        )
        if table is not None:
            _repair(scored, table, rows)
        return scored

    def current_weights(self) -> CurrentWeights:
        """Give the newest weights; a Problem if there are none."""
        weights = self.weights.current()
        if weights is None:
            raise Problem(503, _NO_MODEL, title="No model yet", headers={"Retry-After": "1"})
        return weights

    def timed(self, fields: Mapping[str, Any], at_ms: int) -> Mapping[str, Any]:
        """Fields of an event, its time among them, as the trainer reads it from the log."""
        if not self._time or fields.get(self._time) is not None:
            return fields
        return {**fields, self._time: self._scaled(at_ms)}

    def _timed(self, events: EventBatch) -> Sequence[Mapping[str, Any]]:
        """As :meth:`timed`, of all events."""
        rows, times = events.fields, events.times
        if not self._time:
            return rows
        if isinstance(rows, SharedFields) and rows.is_shared(self._time):
            if rows.shared.get(self._time) is not None:
                return rows
            if min(times) == max(times):
                return rows.with_shared(self._time, self._scaled(times[0]))
        return [self.timed(row, at) for row, at in zip(rows, times, strict=True)]

    def _scaled(self, at_ms: int) -> int | float:
        time = at_ms * self._scale
        return time if self._scale < 1.0 else int(time)

    # --- counters ------------------------------------------------------------------------

    def _count(self, requests: Sequence[EventBatch]) -> list[_Counted]:
        """The counter values of all events of some requests."""
        brings = [self._brings(events) for events in requests]
        found: list[Fetched | None] = [None] * len(requests)
        if self.value_names and self.features is not None:
            asked = [*map(self._store_request, requests, brings)]
            some = [one for one in asked if one is not None]
            fetched = iter(self.features.fetch_all(some) if some else ())
            found = [None if one is None else next(fetched) for one in asked]
        return [*map(self._counted, requests, brings, found)]

    def _store_request(
        self, events: EventBatch, brings: list[bool] | None
    ) -> tuple[Sequence[Mapping[str, Any]], int] | None:
        """What to ask the store for: events that bring no counter values, and when."""
        if brings is None:
            return events.fields, max(events.times)
        columns = zip(events.fields, events.times, brings, strict=True)
        asked = [(row, at) for row, at, own in columns if not own]
        return ([row for row, _ in asked], max(at for _, at in asked)) if asked else None

    def _brings(self, events: EventBatch) -> list[bool] | None:
        """Which events bring counter values; ``None``: none does."""
        rows = events.fields
        of_all = (rows.all_names,) if isinstance(rows, SharedFields) else rows
        if events.counters is None and all(map(self._carriers.isdisjoint, of_all)):
            return None
        given = events.counters or [None] * len(rows)
        return [
            one is not None or not self._carriers.isdisjoint(row)
            for row, one in zip(rows, given, strict=True)
        ]

    def _counted(
        self, events: EventBatch, brings: list[bool] | None, found: Fetched | None
    ) -> _Counted:
        """The counter values of all events, the store's and those that they bring."""
        count = len(events.fields)
        if not self.value_names:
            return _Counted(None, None, [()] * count)
        age = None if found is None or found.age_ms is None else found.age_ms / 1000
        if brings is None:
            if found is None:
                nothing = np.full((count, len(self.value_names)), np.nan)
                return _Counted(nothing, None, [_NO_STORE] * count)
            return _Counted(found.values, age, found.fallbacks)
        values = np.full((count, len(self.value_names)), np.nan)
        fallbacks: list[tuple[str, ...]] = []
        at = 0
        for i, brought in enumerate(brings):
            if brought:
                values[i] = self._brought(events, i)
                fallbacks.append(())
                continue
            if found is not None and found.values is not None:
                values[i] = found.values[at]
            fallbacks.append(_NO_STORE if found is None else found.fallbacks[at])
            at += 1
        return _Counted(values, age, fallbacks)

    def _brought(self, events: EventBatch, i: int) -> F64:
        own = (events.counters[i] if events.counters is not None else None) or {}
        given = {COLUMN_PREFIX + name: value for name, value in own.items()}
        assert self._counters is not None
        values = self._counters.served_in_event({**events.fields[i], **given})
        return np.full(len(self.value_names), np.nan) if values is None else values[0]


@dataclass(slots=True)
class _Counted:
    """Counter values of some events, how old they are, and what each event lacked."""

    values: F64 | None
    age_s: float | None
    fallbacks: Sequence[tuple[str, ...]]


def _repair(scored: ScoredEvents, table: RepairTable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Multiply what is in a slice that is repaired; the bits of all others stay as they are."""
    found = table.factors(rows)
    if found is None:
        return
    factors, scored.repairs = found
    some = factors != 1.0
    p, logit = scored.probability.copy(), scored.logit.copy()
    p[some] = repaired(p[some], factors[some])
    logit[some] = np.log(p[some]) - np.log1p(-p[some])
    scored.probability, scored.logit, scored.model_probability = p, logit, scored.probability


def _known_columns(spec: Spec, vectoriser: Vectoriser) -> list[str]:
    source = spec.source
    meant = [source.label, source.timestamp, source.event_id, source.weight, source.truth]
    counted = vectoriser.counters.columns if vectoriser.counters is not None else ()
    return [*vectoriser.columns, *counted, *filter(None, (*meant, source.click_delay))]
