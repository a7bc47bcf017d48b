"""Any River classifier as a challenger: it gets the spec's fields as hashed one-hot features."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from features.errors import ClicktideError
from features.spec import Spec
from monitoring.registry.challenge_windows import EventWindows
from monitoring.registry.shadow import Shadow, Told
from streaming.prepare import Ready

__all__ = ["RiverShadow", "river_classifier"]

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


class RiverShadow(Shadow):
    """Learns with a River classifier, event by event, at River's own speed.

    Its state is Python objects, which are not saved: started again, it begins the log anew. A late
    click's correction is learned as one more positive.

    Parameters
    ----------
    spec
        Whose fields it gets, without crosses; each value is a feature of value 1.
    windows
        Where its figures go.
    classifier
        As :func:`river_classifier` makes it.
    bits
        Features are hashed into ``2**bits``, so that memory stays bounded.
    """

    def __init__(self, spec: Spec, windows: EventWindows, classifier: Any, bits: int = 20) -> None:
        super().__init__(spec, windows)
        self.classifier, self._mask = classifier, np.uint64((1 << bits) - 1)

    def _learn(self, ready: Ready, told: Told) -> None:
        kinds = ready.corrections
        logits = np.zeros(len(told.times))
        for at, x in enumerate(self._features(ready)):
            if kinds is not None and kinds[at] == 2:
                continue
            weight = {} if ready.importance is None else {"w": float(ready.importance[at])}
            if kinds is None or kinds[at] == 0:
                logits[at] = self._predict(x)
            self._teach(x, bool(ready.labels[at]), weight)
        events = slice(None) if kinds is None else kinds == 0
        importance = None if ready.importance is None else ready.importance[events]
        self._score(told.take(events), logits[events], ready.labels[events], importance)

    def _predict(self, x: dict[int, float]) -> float:
        known = self.classifier.predict_proba_one(x)
        p = min(max(float(known.get(True, 0.0 if known else 0.5)), _LEAST), 1.0 - _LEAST)
        return math.log(p / (1.0 - p)) if math.isfinite(p) else 0.0

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

    def save(self, folder: Path, offsets: Sequence[int]) -> None:
        """Nothing: River's state would have to be pickled, which runs code when read."""
