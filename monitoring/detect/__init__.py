"""Detectors: sequential tests that find, date and name shifts, and say what they cost."""
