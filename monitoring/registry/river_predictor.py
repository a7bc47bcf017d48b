"""Any River classifier as a challenger: it gets the spec's fields as hashed one-hot features."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from features.batch import Batch
from features.errors import ClicktideError
from features.spec import Spec
from features.vectoriser import Vectoriser
from streaming.examples import examples_source
from streaming.prepare import Preparer, Ready

__all__ = ["RiverPredictor", "river_classifier"]

F64 = NDArray[np.float64]
_LEAST = 1e-7
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*\.[A-Z][A-Za-z0-9]*")


def river_classifier(name: str, settings: Mapping[str, float | int | bool | str] = {}) -> Any:
    """A classifier of River by its name under ``river``, and nothing else by any other.

    Parameters
    ----------
    name
        Such as ``linear_model.AdPredictor``.
    settings
        Its parameters.

    Raises
    ------
    ClicktideError
        River has no such classifier, or it does not take these settings.

    Examples
    --------
    >>> river_classifier("linear_model.AdPredictor", {"beta": 0.05})
    AdPredictor (
      beta=0.05
      prior_probability=0.5
      epsilon=0.05
    )
    """
    kind = _class(name)
    if not (inspect.isclass(kind) and issubclass(kind, base.Classifier)):
        raise ClicktideError(
            f"river.{name}: not a classifier of River. Fix: a name such as "
            "linear_model.AdPredictor or linear_model.LogisticRegression"
        )
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise ClicktideError(
            f"river.{name}: {error}. Fix: its settings are {inspect.signature(kind)}"
        ) from error


def _class(name: str) -> Any:
    if not _NAME.fullmatch(name):
        return None
    module, _, kind = name.rpartition(".")
    try:
        return getattr(importlib.import_module(f"river.{module}"), kind, None)
    except ImportError:
        return None


class RiverPredictor:
    """Predicts and learns with a River classifier, event by event, at River's own speed.

    Its state is Python objects, which are not saved: started again, it begins the log anew. A late
    click is learned as one more positive.

    Parameters
    ----------
    spec
        Whose fields it gets, without crosses; each value is a feature of value 1.
    classifier
        As :func:`river_classifier` makes it.
    bits
        Features are hashed into ``2**bits``, so that memory stays bounded.
    """

    def __init__(self, spec: Spec, classifier: Any, bits: int = 20) -> None:
        self.classifier, self._mask = classifier, np.uint64((1 << bits) - 1)
        self._prepare = Preparer(Vectoriser(spec), examples_source(spec))

    @property
    def columns(self) -> list[str]:
        """Columns that a batch must have."""
        return self._prepare.columns

    def __call__(self, batch: Batch) -> F64:
        """Probability of each row, made before it was learned; NaN where it cannot be."""
        out = np.full(batch.columns.num_rows, np.nan)
        ready = self._prepare(batch)
        kinds = ready.corrections
        for at, x in enumerate(self._features(ready)):
            if kinds is not None and kinds[at] == 2:  # an amendment that changes no label
                continue
            weight = {} if ready.importance is None else {"w": float(ready.importance[at])}
            out[ready.rows[at]] = self._predict(x)
            self._teach(x, bool(ready.labels[at]), weight)
        return out

    def _predict(self, x: dict[int, float]) -> float:
        known = self.classifier.predict_proba_one(x)
        p = float(known.get(True, 0.0 if known else 0.5))
        return min(max(p, _LEAST), 1.0 - _LEAST) if math.isfinite(p) else 0.5

    def _teach(self, x: dict[int, float], y: bool, weight: dict[str, float]) -> None:
        try:
            self.classifier.learn_one(x, y, **weight)
        except TypeError:  # it knows no weights
            self.classifier.learn_one(x, y)

    def _features(self, ready: Ready) -> list[dict[int, float]]:
        hashed = ready.hashed
        tokens = (hashed.tokens & self._mask).tolist()
        if len(hashed.starts):
            cuts = hashed.starts[:: hashed.fields].tolist()
        else:
            cuts = list(range(0, len(tokens) + 1, hashed.fields))
        return [dict.fromkeys(tokens[start:stop], 1.0) for start, stop in pairwise(cuts)]

    def save(self) -> int:
        """Nothing: River's state would have to be pickled, which runs code when read."""
        return 0

    def sweep(self) -> None:
        """Nothing was saved."""
