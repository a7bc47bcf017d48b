"""The click learner as an estimator of River."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from river import base

from learning import click_learner

__all__ = ["ClickLearner"]


class ClickLearner(click_learner.ClickLearner, base.MiniBatchClassifier):  # type: ignore[misc]
    """The click learner for River: its pipelines, evaluation and checks take it.

    Parameters
    ----------
    spec
        As for :class:`learning.click_learner.ClickLearner`, which tells the rest.

    Examples
    --------
    >>> from river import compose
    >>> from learning import ClickLearner
    >>> model = compose.Select("ad") | ClickLearner()
    >>> for clicked in [True, False] * 250:
    ...     model.learn_one({"ad": "shoes" if clicked else "boats", "hour": 7}, clicked)
    >>> model.predict_one({"ad": "shoes"}), model.predict_one({"ad": "boats"})
    (True, False)
    """

    @property
    def _multiclass(self) -> bool:
        return False

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"spec": None}
