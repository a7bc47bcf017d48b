"""Predictions with their outcomes: the one batch that windows, detectors and reports work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.watch.categorical import Categorical

__all__ = ["Scored"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions and what became of them: n impressions, in the order in which they came.

    Parameters
    ----------
    time_ms
        int64 (n,): event time of the impression.
    probability
        float64 (n,): the predicted click probability, in 0..1.
    label
        float64 (n,): 1 clicked, 0 not.
    bid
        float64 (n,): what a click is worth, NaN where it is not known.
    click_delay_ms
        float64 (n,): from impression to click, NaN where there was none or it is not known.
    correction
        bool (n,): a late click: this row amends one of the same impression that came earlier
        with label 0, and has label 1. It is not another impression.
    slices
        By field: its value in each row. Every batch of one stream has the same fields.
    version
        The model version that predicted, if known.

    Examples
    --------
    >>> batch = Scored.of([0, 1], [0.1, 0.4], slices={"site": ["a", None]})
    >>> batch.label.tolist(), batch.slices["site"].values
    ([0.0, 1.0], ['a', '(missing)'])
    """

    time_ms: I64
    probability: F64
    label: F64
    bid: F64
    click_delay_ms: F64
    correction: NDArray[np.bool_]
    slices: Mapping[str, Categorical] = field(default_factory=dict)
    version: Categorical | None = None

    @classmethod
    def of(
        cls,
        label: Any,
        probability: Any,
        *,
        time_ms: Any = None,
        slices: Mapping[str, Sequence[Any]] | None = None,
    ) -> Scored:
        """Rows with labels and predictions, and what else is known; times are their numbers."""
        rows = len(label)
        nothing = np.full(rows, np.nan)
        return cls(
            np.arange(rows) if time_ms is None else np.asarray(time_ms, np.int64),
            np.asarray(probability, np.float64),
            np.asarray(label, np.float64),
            nothing,
            nothing,
            np.zeros(rows, np.bool_),
            {name: Categorical.of(pa.array(values)) for name, values in (slices or {}).items()},
        )

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: I64 | NDArray[np.bool_] | slice) -> Scored:
        """Some rows: their numbers in order, a mask, or a slice (that copies nothing)."""
        return Scored(
            self.time_ms[rows],
            self.probability[rows],
            self.label[rows],
            self.bid[rows],
            self.click_delay_ms[rows],
            self.correction[rows],
            {name: coded.take(rows) for name, coded in self.slices.items()},
            None if self.version is None else self.version.take(rows),
        )

    def with_probability(self, probability: F64) -> Scored:
        """The same rows, predicted otherwise."""
        return replace(self, probability=probability)
