"""The click learner: events in, click probabilities out.

:mod:`learning.estimators` makes it an estimator of River, which processes do without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from features.jit import jit
from features.spec import HashSpec, Spec
from features.vectoriser import Vectoriser
from learning.inputs import as_frame, label_column, label_of, weight_column, weight_of
from learning.open_fields import OpenFields, all_pairs
from learning.sparse import pack, unpack
from learning.weights import StackWeights, Weights, weights_for

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClickLearner", "probabilities"]

F64 = NDArray[np.float64]
_INNER = ("_quantiles", "_counters", "_tables", "_rest", "_names")
_TABLES = ("fields", "crosses")


class ClickLearner:
    """Learns click probabilities from events with many categorical fields, one by one.

    By default it is ``stack`` (:mod:`learning.stack`): logistic regressions on fields and crosses,
    fading statistics of both, and a net over these, mixed and calibrated as it goes. So there is
    nothing to tune.
    Learning many events at once is, bit for bit, learning them one by one.

    Parameters
    ----------
    spec
        What the fields are, how they are crossed and learned (:mod:`features.spec_file`).
        ``None``: whatever keys an event has are its fields, each a category, all pairs
        of the first 64 crossed, in small tables.

    Attributes
    ----------
    vectoriser
        Turns events into token hashes; ``None`` without a spec.
    weights
        The state; ``None`` before the first event, without a spec.

    Examples
    --------
    >>> from learning import ClickLearner
    >>> model = ClickLearner()
    >>> for _ in range(500):
    ...     model.learn_one({"site": "news", "ad": "shoes"}, True)
    ...     model.learn_one({"site": "news", "ad": "boats"}, False)
    >>> p = model.predict_proba_one({"site": "news", "ad": "shoes"})
    >>> p[True] > 0.8
    True
    """

    def __init__(self, spec: Spec | None = None) -> None:
        self.spec = spec
        self.vectoriser: Vectoriser | None = None
        self.weights: Weights | None = None
        self.open_fields = OpenFields()  # what stands in for a vectoriser without a spec
        if spec is not None:
            self.vectoriser = Vectoriser(spec)
            self.weights = weights_for(
                spec.hash, spec.learner, self.vectoriser.crosses, self.vectoriser.width
            )

    def __repr__(self) -> str:
        """Short: a spec has hundreds of lines."""
        spec = "" if self.spec is None else f"spec={self.spec.name!r}"
        return f"{type(self).__name__}({spec})"

    # --- River, one event -----------------------------------------------------------------

    def learn_one(self, x: Mapping[Any, Any], y: bool, w: float = 1.0) -> None:
        """Learn an event.

        Parameters
        ----------
        x
            Column name to value.
        y
            Whether it was clicked: 0/1 or false/true.
        w
            Importance weight, from 0 to 1e6.

        Raises
        ------
        RowError
            If the label, the weight or a value is not what is due; then nothing is learned.
        """
        label, weight = label_of(y), weight_of(w)
        hashed = self.hash_event(x, learn=True)
        importance = None if weight == 1.0 else np.array([weight])
        self.weights_for(hashed).learn(hashed, np.array([label]), importance)

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[bool, float]:
        """Probability of no click and of a click; parameters as for :meth:`learn_one`."""
        hashed = self.hash_event(x)
        if self.weights is None:
            return {False: 0.5, True: 0.5}
        p = float(probabilities(self.weights_for(hashed).predict(hashed))[0])
        return {False: 1.0 - p, True: p}

    def hash_event(self, x: Mapping[Any, Any], *, learn: bool = False) -> Hashed:
        """Token hashes of an event."""
        if self.vectoriser is None:
            return self.open_fields.hash_event(x, learn=learn)
        return self.vectoriser.hash_event(x, learn=learn)

    def weights_for(self, hashed: Hashed) -> Weights:
        """The weights; without a spec they are made now, and grow with the fields."""
        if self.weights is None:
            self.weights = _open_weights()
        if self.vectoriser is None and isinstance(self.weights, StackWeights):
            self.weights.grow(hashed.fields, all_pairs(hashed.fields))
        return self.weights

    # --- River, many events ---------------------------------------------------------------

    def learn_many(
        self, X: pd.DataFrame, y: pd.Series[Any], w: pd.Series[Any] | float | None = None
    ) -> None:
        """Learn the rows of a frame, in order, as :meth:`learn_one` would.

        Parameters
        ----------
        X
            A column each field; a frame of pandas, or of a library that Arrow can read.
        y
            Whether each row was clicked, in the order of the rows.
        w
            Importance weights of the rows, or one for all.

        Raises
        ------
        RowError
            As for :meth:`learn_one`, naming the row, or there is not one label a row; then no
            row is learned.
        """
        frame = as_frame(X)
        labels, importance = label_column(y, len(frame)), weight_column(w, len(frame))
        hashed = self._hash_many(frame, learn=True)
        self.weights_for(hashed).learn(hashed, labels, importance)

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """Probabilities of the rows of a frame, columns ``False`` and ``True``."""
        import pandas as pd

        frame = as_frame(X)
        hashed = self._hash_many(frame)
        p = np.full(len(frame), 0.5)
        if self.weights is not None:
            p = probabilities(self.weights_for(hashed).predict(hashed))
        return pd.DataFrame({False: 1.0 - p, True: p}, index=frame.index)

    def _hash_many(self, frame: pd.DataFrame, *, learn: bool = False) -> Hashed:
        hasher = self.vectoriser or self.open_fields
        return hasher.hash_frame(frame, learn=learn)

    # --- hashed events --------------------------------------------------------------------

    def learn_hashed(self, hashed: Hashed, labels: F64, importance: F64 | None = None) -> F64:
        """Learn hashed events; float64 logits as predicted before each was learned."""
        return self.weights_for(hashed).learn(hashed, labels, importance)

    def predict_hashed(self, hashed: Hashed) -> F64:
        """Logits of hashed events."""
        return self.weights_for(hashed).predict(hashed)

    # --- copies ---------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle and deepcopy: tables are mostly zeros, which are left out."""
        left_out = ("vectoriser", "weights", "open_fields")
        state = {k: v for k, v in self.__dict__.items() if k not in left_out}
        if self.vectoriser is not None:
            counters = self.vectoriser.counters
            state["_quantiles"] = self.vectoriser.quantiles.state()
            state["_counters"] = counters.state() if counters else {}
        state["_names"] = list(self.open_fields.numbers)
        if self.weights is not None:
            arrays = self.weights.arrays
            state["_tables"] = {name: pack(arrays[name]) for name in _TABLES}
            state["_rest"] = {k: v.copy() for k, v in arrays.items() if k not in _TABLES}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        inner = {k: state.pop(k) for k in list(state) if k in _INNER}
        ClickLearner.__init__(self, state["spec"])
        self.__dict__.update(state)
        if self.vectoriser is not None:
            self.vectoriser.quantiles.restore(inner["_quantiles"])
            if self.vectoriser.counters is not None:
                self.vectoriser.counters.restore(inner["_counters"])
        names = inner["_names"]
        self.open_fields.numbers = {name: number for number, name in enumerate(names)}
        if "_tables" not in inner:
            return
        if self.weights is None:
            self.weights = _open_weights()
            self.weights.grow(len(names), all_pairs(len(names)))
        for name in _TABLES:
            unpack(inner["_tables"][name], self.weights.arrays[name])
        for name, array in inner["_rest"].items():
            self.weights.arrays[name][:] = array


def _open_weights() -> StackWeights:
    """Small tables for events that no spec describes."""
    return StackWeights(HashSpec(bits=18, cross_bits=18), all_pairs(2), 2, inputs=40)


@jit
def probabilities(logits: F64) -> F64:
    """Probabilities of logits; never overflows, the same bits for one as for many."""
    out = np.empty(len(logits))
    for i in range(len(logits)):
        tail = math.exp(-abs(logits[i]))
        out[i] = (1.0 if logits[i] >= 0.0 else tail) / (1.0 + tail)
    return out
