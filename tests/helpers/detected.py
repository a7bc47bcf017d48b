"""A stream of scored rows given to the detectors, batch after batch."""

import numpy as np

from monitoring.watch.detect.detector import SequentialDetector

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
