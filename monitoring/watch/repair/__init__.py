"""Repair of slices that are predicted wrongly, between the model and its answers."""
