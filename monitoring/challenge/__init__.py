"""Challengers: other specs, or River's classifiers, that learn the same joined stream in shadow.

Every challenger sees all examples, predicts each before it learns it, and serves nobody; so its
figures and the champion's are of the same rows, which those of a share of the traffic are not.
"""

from monitoring.challenge.process import Challenge
from monitoring.challenge.shadow import Shadow, SpecShadow
from monitoring.challenge.slices import EventSlices, SliceQuarter, read_slices
from monitoring.challenge.windows import ChallengeWindow, EventWindows, read_windows

__all__ = [
    "Challenge",
    "ChallengeWindow",
    "EventSlices",
    "EventWindows",
    "Shadow",
    "SliceQuarter",
    "SpecShadow",
    "read_slices",
    "read_windows",
]
