"""River's contestant: its hashed FTRL pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, cast

from river import linear_model, metrics, optim, preprocessing

from benchmarks.timing import Run

__all__ = ["learn_river", "river_log_loss"]


def _pipeline() -> Any:
    optimizer = optim.FTRLProximal(alpha=0.1, beta=1.0, l1=0.0, l2=1.0)
    hasher = preprocessing.FeatureHasher(n_features=2**22, seed=0)
    return hasher | linear_model.LogisticRegression(optimizer=optimizer)


def learn_river(events: Sequence[Mapping[str, str]], labels: Sequence[bool]) -> Run:
    """``predict_proba_one``, then ``learn_one``, event by event; nothing is scored."""
    model = _pipeline()
    start = perf_counter()
    for event, label in zip(events, labels, strict=True):
        model.predict_proba_one(event)
        model.learn_one(event, label)
    return Run(len(events), perf_counter() - start)


def river_log_loss(events: Sequence[Mapping[str, str]], labels: Sequence[bool]) -> float:
    """Progressive log loss of the pipeline, nats an event."""
    model, river_loss = _pipeline(), cast(Any, metrics.LogLoss)
    loss = river_loss()
    for event, label in zip(events, labels, strict=True):
        loss.update(label, model.predict_proba_one(event))
        model.learn_one(event, label)
    return float(loss.get())
