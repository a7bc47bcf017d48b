"""Feature specs that ship with Clicktide, found by name."""
