"""Watching a stream: windows, slices, detectors and alarms, and the monitor that runs them."""
