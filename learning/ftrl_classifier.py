"""Plain FTRL-Proximal as a River classifier for any sparse dict of numbers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from river import base

from features.errors import RowError
from features.jit import jit
from learning.inputs import as_frame, label_column, label_of, numbers_of, weight_column, weight_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FTRLClassifier"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@jit
def _weigh(z: F64, n: F64, at: int, rates: F64) -> float:
    """Weight of a feature: rates are alpha, beta, l1, l2."""
    excess = abs(z[at]) - rates[2]
    if excess <= 0.0:
        return 0.0
    return -math.copysign(excess / ((rates[1] + math.sqrt(n[at])) / rates[0] + rates[3]), z[at])


@jit
def _logit(z: F64, n: F64, index: I64, values: F64, rates: F64) -> float:
    total = 0.0
    for i in range(len(index)):
        total += _weigh(z, n, index[i], rates) * values[i]
    return total


@jit
def _learn(
    z: F64, n: F64, index: I64, values: F64, rates: F64, label: float, importance: float
) -> None:
    p = 1.0 / (1.0 + math.exp(-_logit(z, n, index, values, rates)))
    for i in range(len(index)):
        at = index[i]
        g = importance * (p - label) * values[i]
        grown = n[at] + g * g
        sigma = (math.sqrt(grown) - math.sqrt(n[at])) / rates[0]
        z[at] += g - sigma * _weigh(z, n, at, rates)
        n[at] = grown


class FTRLClassifier(base.MiniBatchClassifier):
    """Logistic regression learned by FTRL-Proximal, Algorithm 1 of McMahan et al. 2013, exactly.

    Unlike ``optim.FTRLProximal`` in ``LogisticRegression``, the weight in an update comes from
    the current state, a weight is exactly zero wherever ``|z| <= l1``, the intercept is a
    feature like any other, and ``learn_many`` learns the rows one by one. Features are kept
    by name, without hashing; a new one costs 16 bytes and its key.

    Parameters
    ----------
    alpha
        Learning rate; higher follows the stream faster and forgets noise slower.
    beta
        Smooths the first steps; higher makes a new feature's first steps smaller.
    l1
        Keeps a weight at 0 until ``|z|`` exceeds it; higher means sparser.
    l2
        Shrinks weights, most for features rarely seen.

    Examples
    --------
    >>> from learning import FTRLClassifier
    >>> model = FTRLClassifier(l1=0.5)
    >>> for _ in range(20):
    ...     model.learn_one({"a": 1.0}, True)
    ...     model.learn_one({"b": 1.0}, False)
    >>> model.predict_one({"a": 1.0})
    True
    """

    def __init__(
        self, alpha: float = 0.1, beta: float = 1.0, l1: float = 0.0, l2: float = 1.0
    ) -> None:
        self.alpha, self.beta, self.l1, self.l2 = alpha, beta, l1, l2
        self._rates = np.array([alpha, beta, l1, l2], np.float64)
        self._index: dict[Hashable, int] = {None: 0}  # the intercept
        self._z, self._n = np.zeros(16), np.zeros(16)

    @property
    def weights(self) -> dict[Hashable, float]:
        """Weights that are not zero, by feature; the intercept's key is ``None``."""
        pairs = {k: float(_weigh(self._z, self._n, i, self._rates)) for k, i in self._index.items()}
        return {key: weight for key, weight in pairs.items() if weight}

    def learn_one(  # type: ignore[override]
        self, x: Mapping[Any, float], y: bool, w: float = 1.0
    ) -> None:
        """Learn an event of numeric features.

        Parameters
        ----------
        x
            Feature to value; an absent or missing feature is 0.
        y
            Whether it was clicked: 0/1 or false/true.
        w
            Importance weight, from 0 to 1e6.

        Raises
        ------
        RowError
            If one of these is not what is due; then nothing is learned.
        """
        self._learn(numbers_of(x), label_of(y), weight_of(w))

    def _learn(self, x: Mapping[Any, float], label: float, importance: float) -> None:
        for key in x:
            self._index.setdefault(key, len(self._index))
        if len(self._index) > len(self._z):
            more = max(len(self._index), 2 * len(self._z)) - len(self._z)
            self._z, self._n = np.pad(self._z, (0, more)), np.pad(self._n, (0, more))
        index, values = self._features(x)
        _learn(self._z, self._n, index, values, self._rates, label, importance)

    def _features(self, x: Mapping[Any, float]) -> tuple[I64, F64]:
        """Indices and values of the known features, in order of index: of no one's dict."""
        known = sorted((self._index[key], x[key]) for key in x if key in self._index)
        index = np.array([0, *(i for i, _ in known)], np.int64)
        return index, np.array([1.0, *(v for _, v in known)], np.float64)

    def predict_proba_one(  # type: ignore[override]
        self, x: Mapping[Any, float]
    ) -> dict[bool, float]:
        """Probability of no click and of a click."""
        index, values = self._features(numbers_of(x))
        p = 1.0 / (1.0 + math.exp(-_bounded(_logit(self._z, self._n, index, values, self._rates))))
        return {False: 1.0 - p, True: p}

    def learn_many(
        self, X: pd.DataFrame, y: pd.Series[Any], w: pd.Series[Any] | float | None = None
    ) -> None:
        """Learn the rows of a frame, in order, as :meth:`learn_one` would.

        Raises
        ------
        RowError
            As for :meth:`learn_one`, naming the row, or there is not one label a row; then no
            row is learned.
        """
        frame = as_frame(X)
        labels, weights = label_column(y, len(frame)), weight_column(w, len(frame))
        importance = np.ones(len(frame)) if weights is None else weights
        for x, label, weight in zip(_rows(frame), labels, importance, strict=True):
            self._learn(x, label, weight)

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """Probabilities of the rows of a frame, columns ``False`` and ``True``."""
        import pandas as pd

        frame = as_frame(X)
        rows = [self.predict_proba_one(x) for x in _rows(frame)]
        return pd.DataFrame(rows, index=frame.index, columns=[False, True])

    @property
    def _multiclass(self) -> bool:
        return False

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {}
        yield {"l1": 0.1}


def _bounded(logit: float) -> float:
    """The logit, kept from where ``exp`` overflows."""
    return min(max(logit, -700.0), 700.0)


def _rows(frame: pd.DataFrame) -> list[dict[Hashable, float]]:
    """Each row's features; all are checked before the first one is learned."""
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise RowError(f"two columns of the frame are named {twice!r}. Fix: rename one")
    out = []
    for row, x in enumerate(frame.to_dict("records")):
        try:
            out.append(numbers_of(x))
        except RowError as error:
            raise RowError(f"row {row}: {error}") from None
    return out
