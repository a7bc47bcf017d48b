"""Monitoring: calibration and drift windows, detectors, the report, and model versions."""
