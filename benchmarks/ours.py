"""Clicktide's contestants: kernel, event by event, file to learned model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from rich.console import Console

from benchmarks.timing import Mark, Run
from clicktide.click_log import open_log
from clicktide.kernels import warm_up
from features.batch import Reject
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from streaming.prepare import Preparer, Ready
from streaming.replay import Replay

__all__ = ["PLAIN", "PLAIN_PAIRS", "hash_file", "learn_dicts", "learn_file", "learn_hashed"]

PLAIN = ("learner.kind=single", "crosses.all_pairs=false")
"""Overrides for plain FTRL-Proximal at its default rates: alpha .1, beta 1, l2 1."""

PLAIN_PAIRS = (
    "learner.kind=single",
    "learner.fields.alpha=0.005",
    "learner.crosses.alpha=0.005",
)


def learn_file(
    log: str | Path, spec: Spec, on_events: Callable[[Mark], None] = lambda mark: None
) -> Run:
    """Replay a log: from opening it to its last event learned and scored.

    Parameters
    ----------
    log
        A file, or ``sim:NAME``.
    spec
        Its kernels are compiled before the clock starts.
    on_events
        Called after every batch.
    """
    warm_up(spec, Console(quiet=True))
    start = perf_counter()
    replay, preparer = Replay(ClickLearner(spec)), Preparer(Vectoriser(spec), spec.source)
    replay.run(
        open_log(str(log), spec, preparer.columns, None),
        preparer=preparer,
        on_reject=_refuse,
        on_batch=lambda at: on_events((at.progress.overall.events, perf_counter() - start)),
    )
    figures = replay.progress.overall.figures()
    return Run(figures.events, perf_counter() - start, figures.log_loss)


def hash_file(log: Path, spec: Spec) -> list[Ready]:
    """Everything of a log that comes before learning."""
    preparer = Preparer(Vectoriser(spec), spec.source)
    return [preparer(batch) for batch in open_log(str(log), spec, preparer.columns, None)]


def learn_hashed(parts: Sequence[Ready], spec: Spec) -> Run:
    """The kernel alone: predict and learn events that are hashed already, from empty tables."""
    start = perf_counter()
    learner = ClickLearner(spec)
    for part in parts:
        learner.learn_hashed(part.hashed, part.labels)
    return Run(sum(part.hashed.rows for part in parts), perf_counter() - start)


def learn_dicts(rows: Sequence[Mapping[str, str]], labels: Sequence[bool], spec: Spec) -> Run:
    """River's API on the raw texts: ``predict_proba_one``, then ``learn_one``, event by event."""
    model = ClickLearner(spec)
    start = perf_counter()
    for row, label in zip(rows, labels, strict=True):
        model.predict_proba_one(row)
        model.learn_one(row, label)
    return Run(len(rows), perf_counter() - start)


def _refuse(reject: Reject) -> None:
    raise ValueError(f"a benchmark log has no bad rows, but: {reject.reason}, {reject.detail}")
