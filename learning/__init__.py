"""River estimators that learn clicks, their kernel, metrics and snapshots."""
