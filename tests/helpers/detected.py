"""A stream of scored rows given to the detectors, batch after batch."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from monitoring.watch.categorical import Categorical
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.scored_batch import Scored

BATCH = 16_384


def alarms(scored, settings):
    """Every telling of an alarm."""
    detector, told = SequentialDetector(settings), []
    for start in range(0, len(scored), BATCH):
        rows = np.arange(start, min(start + BATCH, len(scored)))
        told += detector.update(scored.take(rows))
    return told


def raised(scored, settings):
    return [alarm for alarm in alarms(scored, settings) if alarm.status == "open"]


def scored_of(label, p, codes, *, time_ms=None, **more):
    """Rows whose slices have codes, of values such as ``site-3``; ``more``: what else is known."""
    slices = {
        name: Categorical(
            of.astype(np.int32), pa.array([f"{name}-{i}" for i in range(int(of.max()) + 1)])
        )
        for name, of in codes.items()
    }
    return replace(Scored.of(label, p, time_ms=time_ms), slices=slices, **more)
