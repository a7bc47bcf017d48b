"""The scorer: events to probabilities, the same bits as the trainer's and `clicktide predict`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.names import COLUMN_PREFIX
from features.hashed import Hashed
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner, probabilities
from serving.features import FeatureSource, Fetched, Gatherer
from serving.hasher import EventHasher
from serving.problem import Problem
from serving.weights import Weighing, WeightsSource

__all__ = ["Event", "Scored", "Scorer"]

F64 = NDArray[np.float64]
Uncertainty = Callable[[ClickLearner, Hashed], F64]
_PER_MS = {"ms": 1.0, "us": 1000.0, "s": 0.001}
_NO_MODEL = "no model yet. Fix: start `clicktide train --live FILE`, then ask again"
_TRIES = 5
_NO_STORE = ("store:none",)


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
    """Scores events with the newest weights and counter values. For one thread.

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
    hasher
        Makes the tokens.
    """

    def __init__(
        self,
        weights: WeightsSource,
        features: FeatureSource | None,
        spec: Spec,
        now_ms: Callable[[], int],
        uncertainty: Uncertainty | None = None,
    ) -> None:
        self.weights, self.features, self.spec, self.now_ms = weights, features, spec, now_ms
        self.uncertainty = uncertainty
        self._gather = None if features is None else Gatherer(features)
        self.hasher = EventHasher(spec)
        vectoriser = Vectoriser(spec)
        self._counters = vectoriser.counters
        self.value_names = tuple(self._counters.value_names) if self._counters is not None else ()
        columns = [COLUMN_PREFIX + name for name in self.value_names]
        self.known = frozenset((*_known(spec, vectoriser), *columns))
        self._carriers = frozenset(columns)
        self._scale = _PER_MS.get(spec.source.timestamp_format, 0.0)
        self._time = spec.source.timestamp if self._scale else ""

    # --- scoring -------------------------------------------------------------------------

    def score(self, events: Sequence[Event]) -> Scored:
        """Score events; waits for the store.

        Raises
        ------
        Problem
            There are no weights yet (503), or a value is not what the spec declares (422).
        """
        asked = self._asked(events)
        found = None
        if asked is not None and self.features is not None:
            found = self.features.fetch(*asked)
        return self._finish(events, found)

    async def score_soon(self, events: Sequence[Event]) -> Scored:
        """Score events; those that are asked for at one time share a round trip to the store."""
        asked = self._asked(events)
        found = None
        if asked is not None and self._gather is not None:
            found = await self._gather.fetch(*asked)
        return self._finish(events, found)

    def _finish(self, events: Sequence[Event], found: Fetched | None) -> Scored:
        counted = self._counted(events, found)
        rows = [self.timed(event) for event in events]
        for _ in range(_TRIES):
            weighing = self.weighing()
            scored = self._with(weighing, rows, counted)
            if weighing.intact:
                break
        return scored

    def _with(
        self, weighing: Weighing, rows: Sequence[Mapping[str, Any]], counted: _Counted
    ) -> Scored:
        learner = weighing.learner
        assert learner.vectoriser is not None  # weights are made by a spec
        hashed = self.hasher.hash(learner.vectoriser, rows, counted.values)
        logit = learner.predict_hashed(hashed)
        age, problem = weighing.age_ms(self.now_ms()), weighing.problem
        return Scored(
            probability=probabilities(logit),
            logit=logit,
            uncertainty=None if self.uncertainty is None else self.uncertainty(learner, hashed),
            version=weighing.version,
            weights_age_s=None if age is None else age / 1000,
            counters=counted.values,
            counters_age_s=counted.age_s,
            fallbacks=counted.fallbacks,
            lacked=() if problem is None else (f"weights: {problem}",),
        )

    def weighing(self) -> Weighing:
        """Give the newest weights; a Problem if there are none."""
        weighing = self.weights.current()
        if weighing is None:
            raise Problem(503, _NO_MODEL, title="No model yet", headers={"Retry-After": "1"})
        return weighing

    def timed(self, event: Event) -> Mapping[str, Any]:
        """Fields of an event, its time among them, as the trainer reads it from the log."""
        if not self._time or event.fields.get(self._time) is not None:
            return event.fields
        time = event.timestamp * self._scale
        return {**event.fields, self._time: time if self._scale < 1.0 else int(time)}

    # --- counters ------------------------------------------------------------------------

    def _asked(self, events: Sequence[Event]) -> tuple[list[Mapping[str, Any]], int] | None:
        """What to ask the store for: events that bring no counter values, and when."""
        if not self.value_names:
            return None
        asked = [event for event in events if not self._brings(event)]
        if not asked:
            return None
        return [event.fields for event in asked], max(event.timestamp for event in asked)

    def _brings(self, event: Event) -> bool:
        return event.counters is not None or not self._carriers.isdisjoint(event.fields)

    def _counted(self, events: Sequence[Event], found: Fetched | None) -> _Counted:
        """The counter values of all events, the store's and those that they bring."""
        if not self.value_names:
            return _Counted(None, None, [()] * len(events))
        if found is not None and len(found.fallbacks) == len(events):
            age = None if found.age_ms is None else found.age_ms / 1000
            return _Counted(found.values, age, found.fallbacks)
        values = np.full((len(events), len(self.value_names)), np.nan)
        fallbacks: list[tuple[str, ...]] = []
        at = 0
        for i, event in enumerate(events):
            if self._brings(event):
                values[i] = self._brought(event)
                fallbacks.append(())
                continue
            if found is not None and found.values is not None:
                values[i] = found.values[at]
            fallbacks.append(_NO_STORE if found is None else found.fallbacks[at])
            at += 1
        age = None if found is None or found.age_ms is None else found.age_ms / 1000
        return _Counted(values, age, fallbacks)

    def _brought(self, event: Event) -> F64:
        given = {COLUMN_PREFIX + name: value for name, value in (event.counters or {}).items()}
        assert self._counters is not None
        values = self._counters.served_in_event({**event.fields, **given})
        return np.full(len(self.value_names), np.nan) if values is None else values[0]


@dataclass(slots=True)
class _Counted:
    """Counter values of some events, how old they are, and what each event lacked."""

    values: F64 | None
    age_s: float | None
    fallbacks: Sequence[tuple[str, ...]]


def _known(spec: Spec, vectoriser: Vectoriser) -> list[str]:
    source = spec.source
    meant = [source.label, source.timestamp, source.event_id, source.weight, source.truth]
    counted = vectoriser.counters.columns if vectoriser.counters is not None else ()
    return [*vectoriser.columns, *counted, *filter(None, (*meant, source.click_delay))]
