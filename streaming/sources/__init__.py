"""Readers of click logs: CSV, TSV, JSON Lines, Parquet, VW, libsvm, libffm; plain or compressed.

:func:`open_source` yields batches with the rows that could not be read beside them;
:func:`sample_log` looks at a log nobody has described yet.
"""

from features.batch import Batch, Position, Reject
from streaming.sources.formats import FileHead, describe_head
from streaming.sources.reader import open_source
from streaming.sources.sample import Sample, sample_log

__all__ = [
    "Batch",
    "FileHead",
    "Position",
    "Reject",
    "Sample",
    "describe_head",
    "open_source",
    "sample_log",
]
