"""Training-serving skew: counters as they were served, against the same ones recomputed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.batch import Batch
from features.counters.counting import Counters, Occurrences
from features.counters.names import half_life_ms
from features.spec import Spec
from monitoring.watch.scored_batch import Scored
from streaming.served_counters import served_matrix

__all__ = ["Skew", "SkewCheck"]

F64 = NDArray[np.float64]

_LIVES = 5.0
"""After so many half-lives a counter has forgotten all but 3 % of what came before."""
_SHARE, _VIEWS = 0.1, 1.0
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Skew(msgspec.Struct, frozen=True):
    """How often the counters that served a prediction were not those of its example.

    Parameters
    ----------
    compared
        Impressions of the sample that carried their counters, and whose recomputed ones can be
        trusted.
    skew_rate
        Share of these in which some counter was off by more than a tenth and by more than 1.
    by_counter
        Likewise by counter, those that were ever off, worst first.
    """

    compared: int = 0
    skew_rate: float | None = None
    by_counter: dict[str, float] = {}


class SkewCheck:
    """Recounts the counters of all examples, and compares those of a sample with those served.

    Every example is counted, so that a value is exact wherever it is read. It begins with the first
    example that carries any. If there were others before, a value is compared only five of its
    half-lives later. Memory grows with the keys, as the trainer's does.

    A counter that serves knows a click once it has come in; the recomputed one knows it at its
    own time. Moments apart they differ by a view or a click: by no more than 1 as a rule.

    Parameters
    ----------
    spec
        With at least one counter.
    one_in
        One impression in so many is compared, chosen by a hash of its time.

    Attributes
    ----------
    names
        Of the values compared, as impressions carry them.
    columns
        That a batch must have.
    """

    def __init__(self, spec: Spec, one_in: int = 8) -> None:
        self._one_in = one_in
        self._counters = Counters(spec)
        self.names, self.columns = self._counters.value_names, self._counters.columns
        self._lives = np.array(
            [
                half_life_ms(hours)
                for one in spec.counters
                for _ in range(len(one.keys) + (one.prior_rate is None))
                for hours in one.half_lives_h
                for _ in ("views", "clicks")
            ],
            np.float64,
        )
        width = len(self.names)
        self._wait_ms = np.zeros(width)
        self._since_ms: int | None = None
        self._off = np.zeros(width, np.int64)
        self._compared = self._skewed = 0

    def update(
        self, scored: Scored, batch: Batch, served: pa.BinaryArray | None, *, first: bool = False
    ) -> None:
        """Count the rows of a batch, and compare a sample of those that carry their counters.

        Parameters
        ----------
        scored, batch
            The same rows.
        served
            Counters as JSON, null where a row has none; ``None``: no row has any.
        first
            Whether no example came before these.
        """
        if self._since_ms is None:
            if served is None:
                return
            self._since_ms = int(scored.time_ms[0])
            self._wait_ms = self._lives * (0.0 if first else _LIVES)
        new = np.flatnonzero(~scored.correction)
        time_ms = scored.time_ms[new]
        delay = np.nan_to_num(scored.click_delay_ms[new]).astype(np.int64)
        keys = self._counters.keys_of_batch(batch.columns)[new]
        seen = Occurrences(keys, time_ms, scored.label[new] == 1.0, delay)
        sample = self._sample(time_ms) if served is not None else np.zeros(len(new), np.bool_)
        recounted = self._counters.advance(seen, sample)
        if served is not None and sample.any():
            carried = served_matrix(served.take(pa.array(new[sample])), self.names)
            self._compare(carried, recounted[sample], time_ms[sample])

    def _sample(self, time_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which impressions are compared: chosen by their time, whatever batch they come in."""
        mixed = (time_ms.astype(np.uint64) * _SPREAD) >> np.uint64(40)
        return np.asarray(mixed % np.uint64(self._one_in) == 0)

    def _compare(self, served: F64, recounted: F64, time_ms: NDArray[np.int64]) -> None:
        ripe = (time_ms - (self._since_ms or 0))[:, None] >= self._wait_ms
        known = ~np.isnan(served) & ripe
        expected = np.nan_to_num(recounted)
        gap = np.abs(np.nan_to_num(served) - expected)
        off = known & (gap > _VIEWS) & (gap > _SHARE * np.maximum(expected, served))
        self._compared += int(known.any(axis=1).sum())
        self._skewed += int(off.any(axis=1).sum())
        self._off += off.sum(axis=0)

    def figures(self) -> Skew:
        """What was found so far."""
        if not self._compared:
            return Skew()
        order = np.argsort(-self._off, kind="stable")
        found = {self.names[i]: float(self._off[i] / self._compared) for i in order if self._off[i]}
        return Skew(self._compared, self._skewed / self._compared, found)

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "counters": self._counters.state(),
            "since_ms": self._since_ms,
            "wait_ms": self._wait_ms,
            "off": self._off,
            "rows": [self._compared, self._skewed],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._counters.restore(state["counters"])
        self._since_ms, self._wait_ms = state["since_ms"], state["wait_ms"]
        self._off = state["off"]
        self._compared, self._skewed = state["rows"]
