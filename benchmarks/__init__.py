"""Benchmarks: Clicktide beside River and Vowpal Wabbit, on the same rows, in one run."""
