"""The state of a learner: its two weight tables and its mixture, and the kernel calls on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from features.spec import ExpertSpec, HashSpec, LearnerSpec, Rates
from learning.buckets import capacity
from learning.kernel import learn_events, predict_events

__all__ = ["Weights"]

F64 = NDArray[np.float64]
_learn: Any = learn_events  # mypy cannot count the arguments of a starred call
_predict: Any = predict_events
_NO_IMPORTANCE = np.empty(0)
_LINE = 64
SHARE = 1e-5
"""Weight that goes round the mixture at every event."""


class Weights:
    """z and n of every bucket and expert, in float64, and the mixture.

    Parameters
    ----------
    sizes
        Bits of the two tables.
    learner
        Experts and their rates.
    crosses
        int32 (crosses, 3); empty: there is no cross table.

    Attributes
    ----------
    fields
        float64 (2**bits + 1, 2, K): z and n by bucket, kind and expert; the last bucket is
        the bias.
    crosses
        float64 (2**cross_bits, 2, KC), or empty.
    mixture
        float64 (K,): weights of the experts' logits; positive, sum 1.
    calibration
        float64 (5,): scale and shift of the mixed logit, then their curvature.
    """

    def __init__(self, sizes: HashSpec, learner: LearnerSpec, crosses: NDArray[np.int32]) -> None:
        self.experts = _experts(learner)
        self.index = crosses
        k = len(self.experts)
        self.kc = sum(e.crosses is not None for e in self.experts) if len(crosses) else 0
        self.fields = _table(2**sizes.bits + 1, k)
        self.crosses = _table(2**sizes.cross_bits if self.kc else 0, self.kc)
        self.mixture = np.full(k, 1.0 / k)
        self.calibration = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
        memory = learner.calibration_memory if learner.kind == "mixture" else 0
        self.mixing = (float(learner.mix_rate), SHARE, 1.0 - 1.0 / memory if memory else 0.0)
        self.shifts = np.array([64 - sizes.bits, 64 - sizes.cross_bits], np.uint64)
        self._field_rates = np.empty((3, 0))
        self._cross_rates = np.empty((3, 0))
        self._dense: tuple[Any, ...] | None = None  # kept: building it costs as much as learning

    def learn(self, hashed: Hashed, labels: F64, importance: F64 | None = None) -> F64:
        """Predict, then learn, every event in turn.

        Parameters
        ----------
        hashed
            Token hashes of n events.
        labels
            float64 (n,), 0 or 1.
        importance
            float64 (n,) of importance weights; ``None``: 1 for all.

        Returns
        -------
        ndarray of float64, shape (n,)
            Logits as predicted before each event was learned.
        """
        out = np.empty(hashed.rows)
        weight = _NO_IMPORTANCE if importance is None else importance
        if len(labels) != hashed.rows or len(weight) not in (0, hashed.rows):
            raise ValueError(f"{len(labels)} labels, {len(weight)} weights: {hashed.rows} events")
        if hashed.rows:
            _learn(*self.arguments(hashed), self.mixing, labels, weight, out)
        return out

    def predict(self, hashed: Hashed) -> F64:
        """Logits of n events, float64 (n,); nothing is learned."""
        out = np.empty(hashed.rows)
        if hashed.rows:
            _predict(*self.arguments(hashed), out)
        return out

    def cross(self, index: NDArray[np.int32]) -> None:
        """Cross these fields from now on, int32 (crosses, 3)."""
        if index is not self.index:  # kept by all_pairs, one for each number of fields
            self.index, self._dense = index, None

    def point_at(self, arrays: Mapping[str, F64]) -> None:
        """Keep the state in other arrays from now on, such as those of a mapped file.

        Parameters
        ----------
        arrays
            ``fields``, ``crosses``, ``mixture`` and ``calibration``, shaped as those here.
        """
        self.fields, self.crosses = arrays["fields"], arrays["crosses"]
        self.mixture, self.calibration = arrays["mixture"], arrays["calibration"]
        self._dense = None  # it holds the former arrays

    def arguments(self, hashed: Hashed) -> tuple[Any, ...]:
        """What the kernels take before what they write."""
        if len(hashed.starts):
            room = self._room(*capacity(hashed.starts, hashed.rows, hashed.fields, self.index))
            return hashed.tokens, hashed.starts, hashed.rows, hashed.fields, *room
        if self._dense is None:
            self._dense = (hashed.fields, *self._room(hashed.fields + 1, len(self.index)))
        return hashed.tokens, hashed.starts, hashed.rows, *self._dense

    def _room(self, most_fields: int, most_crosses: int) -> tuple[Any, ...]:
        """The kernel's arguments that do not depend on the events but on how wide they are."""
        k, most = len(self.experts), (most_fields, most_crosses if self.kc else 0)
        if self._field_rates.shape[1] < most[0] * k:
            self._field_rates = lane_rates([e.fields for e in self.experts], most[0])
        if self._cross_rates.shape[1] < most[1] * self.kc:
            crosses = [e.crosses for e in self.experts[: self.kc] if e.crosses]
            self._cross_rates = lane_rates(crosses, most[1])
        return (
            self.index, self.shifts, most, self.fields.reshape(-1), self.crosses.reshape(-1),
            (k, self.kc), self._field_rates, self._cross_rates, self.mixture, self.calibration,
        )  # fmt: skip


def _table(buckets: int, experts: int) -> F64:
    """Zeros, float64 (buckets, 2, experts), from the start of a cache line on.

    So that a bucket of four experts is one line and not the halves of two.
    """
    size = buckets * 2 * experts
    room = np.zeros(size + _LINE // 8)
    first = -room.ctypes.data % _LINE // 8
    return room[first : first + size].reshape(buckets, 2, experts)


def lane_rates(rates: list[Rates], slots: int) -> F64:
    """1/alpha, beta/alpha + l2 and l1 of every lane: float64 (3, slots * experts)."""
    columns = [[1 / r.alpha, r.beta / r.alpha + r.l2, r.l1] for r in rates]
    return np.tile(np.array(columns, np.float64).reshape(-1, 3).T, slots).copy()


def _experts(learner: LearnerSpec) -> tuple[ExpertSpec, ...]:
    """The experts, those that see crosses first."""
    if learner.kind == "single":
        return (ExpertSpec(fields=learner.fields, crosses=learner.crosses),)
    return tuple(sorted(learner.experts, key=lambda e: e.crosses is None))
