"""The embedded event log: one SQLite file, several processes on one machine.

**Durability.** WAL with ``synchronous=NORMAL``: a committed transaction survives ``kill -9`` of
any process; a power cut may take back the last ones, whole and in order, records and positions
together. ``?sync=full`` flushes the disk at each commit, which state kept elsewhere (a model's
snapshot, Redis) needs to survive a power cut exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streaming.log.base import EventLog, Listener, OffsetError, TopicSettings
from streaming.log.partition import check_differs, no_partition, no_topic
from streaming.log.records import Headers, Position, Record, TopicPartition, Values
from streaming.log.sqlite_consumer import SqliteConsumer
from streaming.log.sqlite_file import connect, write_transaction
from streaming.log.sqlite_producer import SqliteProducer
from streaming.time_text import now_ms

__all__ = ["SqliteLog"]

_headers = msgspec.json.Decoder(Headers)


class SqliteLog(EventLog):
    """An event log in a SQLite file.

    Parameters
    ----------
    path
        The file, made when new; its folder must exist, on a local disk (WAL needs shared memory).
    clock_ms
        Time for record timestamps, retention by age, and leases.
    lease_ms
        How long a silent member keeps its partitions.
    sync
        ``normal`` or ``full``, see above.

    Raises
    ------
    LogSettingsError
        The file cannot be used.

    Examples
    --------
    >>> from streaming.log import NewRecord
    >>> log = SqliteLog(Path(":memory:"))
    >>> log.create_topics([TopicSettings("clicks")])
    >>> with log.producer("me").transaction() as tx:
    ...     tx.append("clicks", [NewRecord(b"id", b"value")])
    >>> [record.value for record in log.read(TopicPartition("clicks", 0), 0)]
    [b'value']
    """

    def __init__(
        self,
        path: Path,
        *,
        clock_ms: Callable[[], int] = now_ms,
        lease_ms: int = 30_000,
        sync: str = "normal",
    ) -> None:
        self.db = connect(path, sync)
        self.clock_ms, self.lease_ms = clock_ms, lease_ms
        self._ids: dict[str, list[int]] = {}

    def close(self) -> None:
        """See ``EventLog``."""
        self.db.close()

    def create_topics(self, topics: Sequence[TopicSettings]) -> None:
        """See ``EventLog``."""
        with write_transaction(self.db):
            existing = self.topics()
            for topic in topics:
                if topic.name in existing:
                    check_differs(topic, existing[topic.name])
                else:
                    self._create(topic)

    def _create(self, topic: TopicSettings) -> None:
        columns = "(topic, partition, retention_ms, retention_records)"
        bounds = topic.retention_ms, topic.retention_records
        for partition in range(topic.partitions):
            done = self.db.execute(
                f"INSERT INTO partitions {columns} VALUES (?, ?, ?, ?)",
                (topic.name, partition, *bounds),
            )
            self.db.execute(
                f"CREATE TABLE records_{done.lastrowid} (offset INTEGER PRIMARY KEY,"
                " timestamp_ms INTEGER NOT NULL, key BLOB, value BLOB NOT NULL, headers BLOB)"
            )

    def topics(self) -> dict[str, int]:
        """See ``EventLog``."""
        return dict(self.db.execute("SELECT topic, count(*) FROM partitions GROUP BY topic"))

    def partition_ids(self, topic: str) -> list[int]:
        """Table number of each partition; constant, so kept."""
        if topic not in self._ids:
            self._ids[topic] = [number for (number,) in self._of_topic("id", topic)]
        return self._ids[topic]

    def _of_topic(self, columns: str, topic: str) -> list[tuple[int, ...]]:
        rows = self.db.execute(
            f"SELECT {columns} FROM partitions WHERE topic = ? ORDER BY partition", (topic,)
        ).fetchall()
        if not rows:
            raise no_topic(topic, self.topics())
        return rows

    def start_offsets(self, topic: str) -> list[int]:
        """See ``EventLog``."""
        return [start for (start,) in self._of_topic("start_offset", topic)]

    def end_offsets(self, topic: str) -> list[int]:
        """See ``EventLog``."""
        return [end for (end,) in self._of_topic("end_offset", topic)]

    def data_version(self) -> int:
        """Give a number that changes when another connection has written: cheaper than to read."""
        (version,) = self.db.execute("PRAGMA data_version").fetchone()
        return int(version)

    def committed(self, group: str, at: TopicPartition) -> Position | None:
        """See ``EventLog``."""
        row = self.db.execute(
            "SELECT offset, metadata FROM positions WHERE grp = ? AND topic = ? AND partition = ?",
            (group, *at),
        ).fetchone()
        return Position(*row) if row else None

    def read(self, at: TopicPartition, offset: int, max_records: int = 1000) -> list[Record]:
        """See ``EventLog``."""
        columns = "offset, timestamp_ms, key, value, headers"
        rows = self._rows(columns, at, offset, max_records)
        return [Record(*at, o, t, k, v, _decode(h)) for o, t, k, v, h in rows]

    def read_values(self, at: TopicPartition, offset: int, max_records: int = 1000) -> Values:
        """See ``EventLog``."""
        rows = self._rows("offset, value", at, offset, max_records)
        offsets, values = zip(*rows, strict=True) if rows else ((), ())
        return Values.of(*at, offsets, values)

    def _rows(
        self, columns: str, at: TopicPartition, offset: int, max_records: int
    ) -> list[tuple[Any, ...]]:
        """Columns, offset first, of the records of a partition."""
        ids = self.partition_ids(at.topic)
        if not 0 <= at.partition < len(ids):
            raise no_partition(at, len(ids))
        rows = self.db.execute(
            f"SELECT {columns} FROM records_{ids[at.partition]}"
            " WHERE offset >= ? ORDER BY offset LIMIT ?",
            (offset, max_records),
        ).fetchall()
        # Offsets have no gaps here: any other first offset means that something is missing.
        if not rows or rows[0][0] != offset:
            self._check(at, offset)
        return rows

    def _check(self, at: TopicPartition, offset: int) -> None:
        start = self.start_offsets(at.topic)[at.partition]
        end = self.end_offsets(at.topic)[at.partition]
        if not start <= offset <= end:
            raise OffsetError(
                f"{at.topic}-{at.partition}: offset {offset} is not within {start} to {end}."
                " Fix: start from a position that the log still has"
            )

    def producer(self, transactional_id: str) -> SqliteProducer:
        """See ``EventLog``."""
        return SqliteProducer(self, transactional_id)

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str | None = None,
        on_assigned: Listener = lambda _: None,
        on_revoked: Listener = lambda _: None,
    ) -> SqliteConsumer:
        """See ``EventLog``."""
        counts = {topic: len(self.partition_ids(topic)) for topic in topics}
        return SqliteConsumer(self, group, counts, instance, on_assigned, on_revoked)


def _decode(headers: bytes | None) -> Headers:
    return _headers.decode(headers) if headers else ()
