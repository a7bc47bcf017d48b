"""Readers of click logs: CSV, TSV, JSON Lines, Parquet; plain, gzip or zstd."""
