"""What is scored, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Events", "Scored"]

F64 = NDArray[np.float64]


@dataclass(slots=True)
class Events:
    """Events to score.

    Parameters
    ----------
    fields
        Of each event, column name to value; those that share some may be a
        :class:`~serving.sharing.Sharing`.
    times
        Of each event, ms since 1970.
    counters
        Of each event, values to use instead of the store's, by name; ``None``: of none.
    """

    fields: Sequence[Mapping[str, Any]]
    times: Sequence[int]
    counters: Sequence[Mapping[str, float] | None] | None = None


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

    def part(self, start: int, stop: int, counters_age_s: float | None) -> Scored:
        """Those of some events, whose counters are so old."""
        sd, counters = self.uncertainty, self.counters
        return Scored(
            self.probability[start:stop],
            self.logit[start:stop],
            None if sd is None else sd[start:stop],
            self.version,
            self.weights_age_s,
            None if counters is None else counters[start:stop],
            counters_age_s,
            self.fallbacks[start:stop],
            self.lacked,
        )
