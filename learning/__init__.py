"""River estimators that learn clicks, their kernel, metrics and snapshots.

:class:`ClickLearner` learns events by a feature spec; :class:`FTRLClassifier` and
:class:`HashedCrosses` serve in any River pipeline.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learning.estimators import ClickLearner
    from learning.ftrl_classifier import FTRLClassifier
    from learning.hashed_crosses import HashedCrosses

__all__ = ["ClickLearner", "FTRLClassifier", "HashedCrosses"]

_PLACES = {
    "ClickLearner": "estimators",
    "FTRLClassifier": "ftrl_classifier",
    "HashedCrosses": "hashed_crosses",
}


def __getattr__(name: str) -> Any:
    """Import an estimator when it is first asked for: a reader of metrics needs none."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
