"""Writing to the embedded log: a transaction is collected in memory and written at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from streaming.log.base import Consumer, FencedError, Producer
from streaming.log.partition import key_partitions, routed
from streaming.log.records import NewRecord, Position, TopicPartition
from streaming.log.sqlite_consumer import SqliteConsumer
from streaming.log.sqlite_file import write_transaction

if TYPE_CHECKING:
    from streaming.log.sqlite_log import SqliteLog

__all__ = ["SqliteProducer"]

# Old records are looked for once in so many appended ones, for that costs a few queries.
_RETAIN_EVERY = 4096


class SqliteProducer(Producer):
    """See ``Producer``; fenced by an epoch that each new one of the same id raises."""

    def __init__(self, log: SqliteLog, transactional_id: str) -> None:
        self._log, self._id = log, transactional_id
        key_partitions([b"key"], 1)  # its kernel is loaded now, not in the first transaction
        with write_transaction(log.db):
            (self._epoch,) = log.db.execute(
                "INSERT INTO producers VALUES (?, 1)"
                " ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                (transactional_id,),
            ).fetchone()

    def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        """See ``Producer``."""
        tx = _Transaction(self._log)
        yield tx
        with write_transaction(self._log.db):
            self._check_epoch()
            tx.write()

    def _check_epoch(self) -> None:
        (epoch,) = self._log.db.execute(
            "SELECT epoch FROM producers WHERE transactional_id = ?", (self._id,)
        ).fetchone()
        if epoch != self._epoch:
            raise FencedError(
                f"producer {self._id!r} (epoch {self._epoch}) was taken over by a newer one"
                f" (epoch {epoch}). Fix: stop this process"
            )


class _Transaction:
    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._appended: dict[TopicPartition, list[NewRecord]] = {}
        self._positions: list[tuple[str, str, int, int, str]] = []
        self._readers: list[SqliteConsumer] = []

    def append(self, topic: str, records: Iterable[NewRecord]) -> None:
        """See ``Producer``."""
        partitions = len(self._log.partition_ids(topic))
        shares: list[list[NewRecord]] = [[] for _ in range(partitions)]
        for record, partition in zip(*routed(topic, records, partitions), strict=True):
            shares[partition].append(record)
        for partition, share in enumerate(shares):
            if share:
                self._appended.setdefault(TopicPartition(topic, partition), []).extend(share)

    def commit(
        self, consumer: Consumer | str, positions: Mapping[TopicPartition, Position]
    ) -> None:
        """See ``Producer``."""
        if isinstance(consumer, SqliteConsumer):
            self._readers.append(consumer)
        group = consumer if isinstance(consumer, str) else consumer.group
        self._positions += [(group, *at, *position) for at, position in positions.items()]

    def write(self) -> None:
        """Write it all, inside the caller's SQLite transaction."""
        for reader in self._readers:
            reader.check_current()
        for at, records in self._appended.items():
            self._write_records(at, records)
        self._log.db.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)", self._positions
        )

    def _write_records(self, at: TopicPartition, records: list[NewRecord]) -> None:
        number = self._log.partition_ids(at.topic)[at.partition]
        now, db = self._log.clock_ms(), self._log.db
        (end,) = db.execute(
            "UPDATE partitions SET end_offset = end_offset + ? WHERE id = ? RETURNING end_offset",
            (len(records), number),
        ).fetchone()
        start = end - len(records)
        db.executemany(
            f"INSERT INTO records_{number} VALUES (?, ?, ?, ?, ?)",
            ((i, now, r[0], r[1], _encode(r)) for i, r in enumerate(records, start)),
        )
        if start // _RETAIN_EVERY != end // _RETAIN_EVERY:
            self._retain(number, now)

    def _retain(self, number: int, now: int) -> None:
        db = self._log.db
        start, end, age, count = db.execute(
            "SELECT start_offset, end_offset, retention_ms, retention_records"
            " FROM partitions WHERE id = ?",
            (number,),
        ).fetchone()
        if count is not None:
            start = max(start, end - count)
        if age is not None:
            start = max(start, self._first_since(number, now - age, end))
        db.execute("UPDATE partitions SET start_offset = ? WHERE id = ?", (start, number))
        db.execute(f"DELETE FROM records_{number} WHERE offset < ?", (start,))

    def _first_since(self, number: int, time_ms: int, end: int) -> int:
        row = self._log.db.execute(
            f"SELECT offset FROM records_{number} WHERE timestamp_ms >= ? ORDER BY offset LIMIT 1",
            (time_ms,),
        ).fetchone()
        return int(row[0]) if row else end


def _encode(record: NewRecord) -> bytes | None:
    return msgspec.json.encode(record[3]) if record[3] else None
