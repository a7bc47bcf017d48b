"""What a source gives: its rows, and what it rejected."""

import io

from streaming.sources import open_source


def read_bytes(data, spec, columns, **options):
    """The batches of a log on standard input."""
    return list(open_source("-", spec, columns, stdin=io.BytesIO(data), **options))


def rows_of(batches):
    return [tuple(row.values()) for batch in batches for row in batch.columns.to_pylist()]


def rejects_of(batches):
    return [reject for batch in batches for reject in batch.rejects]


def named(rejects):
    return [(reject.reason, reject.line) for reject in rejects]
