"""Keeps the registry's own database file small: MLflow marks rows as deleted, and keeps them.

Only for a SQLite file; a server's database is its administrator's (``mlflow gc``). The tables are
MLflow's, so this is careful: what is not as expected is left alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

__all__ = ["purge"]

_PREFIX = "sqlite:///"
_DELETED = "Deleted_Internal"


def purge(url: str, keep_points: int, report: Callable[[str], None]) -> None:
    """Remove rows of deleted versions, and the oldest points of long metric series.

    SQLite uses the space again, so the file stays at its largest size so far.

    Parameters
    ----------
    url
        MLflow's tracking URI; anything but a SQLite file is left alone.
    keep_points
        Points that each series of a run keeps.
    report
        Takes lines for people.
    """
    path = Path(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as database, database:
            _versions(database)
            _metrics(database, keep_points)
    except sqlite3.Error as error:
        report(f"register: {path} could not be tidied, it only grows a little: {error}")


def _versions(database: sqlite3.Connection) -> None:
    """Deleted versions; the newest number of each model stays, so none is ever given again."""
    rows = database.execute(
        "SELECT name, version FROM model_versions AS v WHERE current_stage = ? AND version < "
        "(SELECT max(version) FROM model_versions AS w WHERE w.name = v.name)",
        (_DELETED,),
    ).fetchall()
    for table in ("model_version_tags", "model_versions"):
        database.executemany(f"DELETE FROM {table} WHERE name = ? AND version = ?", rows)


def _metrics(database: sqlite3.Connection, keep: int) -> None:
    long = database.execute(
        "SELECT run_uuid, key, count(*) FROM metrics GROUP BY run_uuid, key HAVING count(*) > ?",
        (keep,),
    ).fetchall()
    for run, key, count in long:
        database.execute(
            "DELETE FROM metrics WHERE rowid IN (SELECT rowid FROM metrics WHERE run_uuid = ? "
            "AND key = ? ORDER BY step, timestamp LIMIT ?)",
            (run, key, count - keep),
        )
