"""Serving: click probabilities and rankings over HTTP, from live weights and stored counters."""
