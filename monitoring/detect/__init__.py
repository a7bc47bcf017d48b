"""Detectors: sequential tests that find, date and name shifts, and say what they cost."""

from monitoring.detect.alarm import Alarm
from monitoring.detect.detector import SequentialDetector
from monitoring.detect.settings import DetectSettings

__all__ = ["Alarm", "DetectSettings", "SequentialDetector"]
