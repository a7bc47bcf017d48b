"""A packed copy of live weights, for when their file is lost."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.spec import Spec
from learning.click_learner import ClickLearner
from learning.live import LiveReader
from learning.touched import used_buckets

__all__ = ["Spare", "drop_aside", "give_way", "pack_spare", "unpack_spare"]

_TABLES = ("fields", "crosses")
_VECTORS = ("mixture", "calibration")
_NICE, _LINGER_S = 10, 2.0


@dataclass(frozen=True, slots=True)
class Spare:
    """The buckets in use, and what they held."""

    tables: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    vectors: dict[str, NDArray[np.float64]]
    quantiles: Any
    events: int
    updated_ms: float


def give_way() -> None:
    """Let the calling thread, which makes spares aside, come after those that answer."""
    if sys.platform == "linux":  # there a thread has a priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def drop_aside(held: object) -> None:
    """Let go of a mapped file in a thread of its own.

    Whoever lets go last of a file that was replaced waits until the system has deleted it, with
    all that was not on disk yet: seconds, which no request may wait.
    """
    if held is not None:
        threading.Thread(target=_drop, args=([held],), name="drop-weights", daemon=True).start()
    del held


def _drop(box: list[object]) -> None:
    time.sleep(_LINGER_S)  # until nobody else holds it
    box.clear()


def pack_spare(reader: LiveReader) -> Spare:
    """Copy what a live file holds: the buckets in use, and the small rest."""
    weights, vectoriser = reader.learner.weights, reader.learner.vectoriser
    assert weights is not None and vectoriser is not None
    events, updated = reader.events, float(reader.updated_ms)
    tables = {}
    for name in _TABLES:
        table = getattr(weights, name)
        used = used_buckets(table)
        tables[name] = (used, table[used])
    vectors = {name: getattr(weights, name).copy() for name in _VECTORS}
    return Spare(tables, vectors, vectoriser.quantiles.state(), events, updated)


def unpack_spare(spec: Spec, spare: Spare) -> ClickLearner:
    """Make a learner of a copy."""
    learner = ClickLearner(spec)
    assert learner.weights is not None and learner.vectoriser is not None
    for name, (used, held) in spare.tables.items():
        getattr(learner.weights, name)[used] = held
    for name, vector in spare.vectors.items():
        getattr(learner.weights, name)[:] = vector
    learner.vectoriser.quantiles.restore(spare.quantiles)
    return learner
