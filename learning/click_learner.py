"""The click learner: a mixture of FTRL-Proximal experts on hashed crosses.

:mod:`learning.estimators` makes it an estimator of River, which processes do without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import RowError
from features.hashed import Hashed
from features.jit import jit
from features.labels import MAX_IMPORTANCE
from features.spec import CrossSpec, FieldSpec, HashSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from learning.sparse import pack, unpack
from learning.weights import Weights

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClickLearner", "probabilities"]

F64 = NDArray[np.float64]
_INNER = ("_quantiles", "_counters", "_fields", "_crosses", "_mixture", "_calibration")


class ClickLearner:
    """Learns click probabilities from events with many categorical fields, one by one.

    Several FTRL-Proximal learners (McMahan et al. 2013, Algorithm 1) with different rates,
    with and without crosses, learn side by side; their logits are mixed by weights that
    follow whoever predicts best (exponentiated gradient), and the mix is calibrated as it
    goes. So there is nothing to tune.
    Learning many events at once is, bit for bit, learning them one by one.

    Parameters
    ----------
    spec
        What the fields are, how they are crossed and learned (:func:`features.load_spec`).
        ``None``: the keys of the first event or frame learned are the fields, each a
        category, all pairs crossed, in small tables; later keys are ignored.

    Attributes
    ----------
    vectoriser
        Turns events into token hashes; ``None`` before the first event, without a spec.
    weights
        The state.

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
        if spec is not None:
            self._build(spec)

    def _build(self, spec: Spec) -> tuple[Vectoriser, Weights]:
        self.vectoriser = Vectoriser(spec)
        self.weights = Weights(spec.hash, spec.learner, self.vectoriser.crosses)
        return self.vectoriser, self.weights

    def _parts(self, names: Any = ()) -> tuple[Vectoriser, Weights]:
        """The vectoriser and the weights, made for these field names if there are none yet."""
        if self.vectoriser is not None and self.weights is not None:
            return self.vectoriser, self.weights
        return self._build(_open_spec(names))

    # --- River, one event -----------------------------------------------------------------

    def learn_one(self, x: Mapping[Any, Any], y: bool, w: float = 1.0) -> None:
        """Learn an event.

        Parameters
        ----------
        x
            Column name to value.
        y
            Whether it was clicked.
        w
            Importance weight.

        Raises
        ------
        RowError
            If a value is not what the spec declares, or the weight is not from 0 to 1e6.
        """
        if not 0.0 <= w <= MAX_IMPORTANCE:
            raise RowError(f"importance weight {w} is not from 0 to {MAX_IMPORTANCE:g}")
        if self.spec is None:
            x = {str(key): value for key, value in x.items()}
        vectoriser, weights = self._parts(x)
        hashed = vectoriser.hash_event(x, learn=True)
        importance = None if w == 1.0 else np.array([w], np.float64)
        weights.learn(hashed, np.array([y], np.float64), importance)

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[bool, float]:
        """Probability of no click and of a click; parameters as for :meth:`learn_one`."""
        if self.vectoriser is None or self.weights is None:
            return {False: 0.5, True: 0.5}
        if self.spec is None:
            x = {str(key): value for key, value in x.items()}
        p = float(probabilities(self.weights.predict(self.vectoriser.hash_event(x)))[0])
        return {False: 1.0 - p, True: p}

    # --- River, many events ---------------------------------------------------------------

    def learn_many(
        self, X: pd.DataFrame, y: pd.Series[Any], w: pd.Series[Any] | None = None
    ) -> None:
        """Learn the rows of a frame, in order, as :meth:`learn_one` would.

        Parameters
        ----------
        X
            A column each field.
        y
            Whether each row was clicked.
        w
            Importance weights.
        """
        X = X.rename(columns=str) if self.spec is None else X
        vectoriser, weights = self._parts(X.columns)
        hashed = vectoriser.hash_frame(X, learn=True)
        importance = None if w is None else np.asarray(w, np.float64)
        weights.learn(hashed, np.asarray(y, np.float64), importance)

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """Probabilities of the rows of a frame, columns ``False`` and ``True``."""
        import pandas as pd

        p = np.full(len(X), 0.5)
        if self.vectoriser is not None and self.weights is not None:
            X = X.rename(columns=str) if self.spec is None else X
            p = probabilities(self.weights.predict(self.vectoriser.hash_frame(X)))
        return pd.DataFrame({False: 1.0 - p, True: p}, index=X.index)

    # --- hashed events --------------------------------------------------------------------

    def learn_hashed(self, hashed: Hashed, labels: F64, importance: F64 | None = None) -> F64:
        """Learn hashed events; float64 logits as predicted before each was learned."""
        return self._parts()[1].learn(hashed, labels, importance)

    def predict_hashed(self, hashed: Hashed) -> F64:
        """Logits of hashed events."""
        return self._parts()[1].predict(hashed)

    # --- copies ---------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle and deepcopy: tables are mostly zeros, which are left out."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("vectoriser", "weights")}
        if self.vectoriser is None or self.weights is None:
            return state
        return state | {
            "_built": self.vectoriser.spec,
            "_quantiles": self.vectoriser.quantiles.state(),
            "_counters": self.vectoriser.counters.state() if self.vectoriser.counters else {},
            "_fields": pack(self.weights.fields),
            "_crosses": pack(self.weights.crosses),
            "_mixture": self.weights.mixture.copy(),
            "_calibration": self.weights.calibration.copy(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        built = state.pop("_built", None)
        inner = {k: state.pop(k) for k in list(state) if k in _INNER}
        self.__dict__.update(state)
        self.vectoriser = self.weights = None
        if built is None:
            return
        vectoriser, weights = self._build(built)
        vectoriser.quantiles.restore(inner["_quantiles"])
        if vectoriser.counters is not None:
            vectoriser.counters.restore(inner["_counters"])
        unpack(inner["_fields"], weights.fields)
        unpack(inner["_crosses"], weights.crosses)
        weights.mixture[:] = inner["_mixture"]
        weights.calibration[:] = inner["_calibration"]


def _open_spec(names: Any) -> Spec:
    """A spec of nothing but names: categories, all pairs crossed."""
    fields = FieldSpec(names=tuple(sorted(names)) or ("none",))
    return Spec(
        name="open",
        source=SourceSpec(label=""),
        fields=(fields,),
        crosses=CrossSpec(all_pairs=True),
        hash=HashSpec(bits=18, cross_bits=18),
    )


@jit
def probabilities(logits: F64) -> F64:
    """Probabilities of logits; never overflows, the same bits for one as for many."""
    out = np.empty(len(logits))
    for i in range(len(logits)):
        tail = math.exp(-abs(logits[i]))
        out[i] = (1.0 if logits[i] >= 0.0 else tail) / (1.0 + tail)
    return out
