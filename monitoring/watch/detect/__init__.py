"""Detectors: sequential tests that find, date and name shifts, and say what they cost."""

from __future__ import annotations
