"""The file of the embedded log: its tables, and how it is opened.

Each partition has a table of its own, so that its offsets are the rowids: appending goes to
the end of one B-tree, and reading a batch is one range scan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streaming.log.base import LogSettingsError, LogUnavailableError

__all__ = ["connect", "write_transaction"]

FORMAT = 1
_BUSY_MS = 30_000
# 32 MB of pages between two checkpoints: the ends of the B-trees are copied less often.
_CHECKPOINT_PAGES = 8_000
_SCHEMA = """
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    retention_ms INTEGER, retention_records INTEGER,
    start_offset INTEGER NOT NULL DEFAULT 0, end_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition));
CREATE TABLE positions (
    grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, metadata TEXT NOT NULL,
    PRIMARY KEY (grp, topic, partition)) WITHOUT ROWID;
CREATE TABLE producers (transactional_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE groups (grp TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE members (
    grp TEXT NOT NULL, member TEXT NOT NULL, incarnation TEXT NOT NULL, lease_ms INTEGER NOT NULL,
    PRIMARY KEY (grp, member)) WITHOUT ROWID;
"""


class _Cursor(sqlite3.Cursor):
    """Says as the log's own error what fails at reading; ``write_transaction`` does for writing."""

    def execute(self, sql: str, parameters: Any = ()) -> _Cursor:
        with _readable():
            super().execute(sql, parameters)
        return self

    def fetchone(self) -> Any:
        with _readable():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _readable():
            return super().fetchall()


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, parameters: Any = ()) -> _Cursor:
        return self.cursor(_Cursor).execute(sql, parameters)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LogUnavailableError(
            f"the event log's file does not answer: {error}. Fix: check its disk, and that no "
            "other program holds it"
        ) from error


def connect(path: Path, sync: str) -> sqlite3.Connection:
    """Open the file, making it when it is new.

    Raises
    ------
    LogSettingsError
        Its folder does not exist, it is no log, or is one of a newer format.
    """
    try:
        db = sqlite3.connect(
            path, timeout=_BUSY_MS / 1000, isolation_level=None, factory=_Connection
        )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {sync}")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        _prepare(db)
    except (sqlite3.Error, LogUnavailableError) as error:
        raise LogSettingsError(f"{path}: not a usable event log ({error})") from error
    return db


def _prepare(db: sqlite3.Connection) -> None:
    with write_transaction(db):
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found == 0:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {FORMAT}")
        elif found != FORMAT:
            fix = "use the program that wrote it, or another file"
            raise LogSettingsError(f"event log of format {found}, this reads {FORMAT}. Fix: {fix}")


@contextmanager
def write_transaction(db: sqlite3.Connection) -> Iterator[None]:
    """One writing transaction of SQLite: all of the block or nothing, one process at a time.

    Raises
    ------
    LogUnavailableError
        The disk is full or failing, or others held the file for 30 seconds.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise LogUnavailableError(f"the event log's file cannot be written: {error}") from error
        raise
