"""Reading the embedded log as a member of a group.

Every join, leave and lapse raises the group's generation. A member sees that at its next
``poll`` and takes its new share; until then its commits, made under the old generation, are
refused, so two members never both commit for one partition. No thread is needed: a member that
works longer than its lease loses its place only if another member asks for it, and then its
commit is refused whole.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from streaming.log.base import Consumer, FencedError, Listener, RebalancedError
from streaming.log.partition import assign_ranges
from streaming.log.records import Record, TopicPartition
from streaming.log.sqlite_file import write_transaction

__all__ = ["SqliteConsumer"]

if TYPE_CHECKING:
    from streaming.log.sqlite_log import SqliteLog


# How long an idle reader sleeps between two looks at the file, and when no record has come for a
# second: looking costs 5 % of a core otherwise, of each of the readers. Records, not writes: the
# positions that each process of a stream commits once a second would keep all others awake.
_LOOK_EVERY_S, _LOOK_SELDOM_S, _QUIET_S = 0.005, 0.02, 1.0


class SqliteConsumer(Consumer):
    """See ``Consumer``."""

    def __init__(
        self,
        log: SqliteLog,
        group: str,
        topics: Mapping[str, int],
        instance: str | None,
        on_assigned: Listener,
        on_revoked: Listener,
    ) -> None:
        self.group, self._log, self._topics = group, log, topics
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._member = instance or uuid.uuid4().hex
        self._incarnation = uuid.uuid4().hex
        self._generation = -1
        self._renew_at_ms = 0
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._record_s = time.monotonic()
        self._join()

    def close(self) -> None:
        """See ``Consumer``."""
        if self._generation == -2:
            return
        self._generation = -2
        with write_transaction(self._log.db):
            left = self._log.db.execute(
                "DELETE FROM members WHERE grp = ? AND member = ? AND incarnation = ?",
                (self.group, self._member, self._incarnation),
            )
            if left.rowcount:
                self._raise_generation()

    def assignment(self) -> frozenset[TopicPartition]:
        """See ``Consumer``."""
        return frozenset(self._next)

    def position(self, at: TopicPartition) -> int:
        """See ``Consumer``."""
        return self._next[at]

    def seek(self, at: TopicPartition, offset: int) -> None:
        """See ``Consumer``."""
        if at not in self._next:
            raise KeyError(at)
        self._next[at] = offset

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See ``Consumer``."""
        self._paused.update(self._next.keys() & set(partitions))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See ``Consumer``."""
        self._paused.difference_update(partitions)

    def poll(self, max_records: int = 1000, wait_s: float = 0.0) -> list[Record]:
        """See ``Consumer``."""
        end = time.monotonic() + wait_s
        while True:
            version = self._log.data_version()
            self._keep_place()
            records = self._take(max_records)
            if records:
                self._record_s = time.monotonic()
            if records or not self._await_change(version, end):
                return records

    def _await_change(self, version: int, end: float) -> bool:
        """Sleep until others have written since a version, or the lease is due; false: the end."""
        while (now := time.monotonic()) < end:
            quiet = now > self._record_s + _QUIET_S
            time.sleep(_LOOK_SELDOM_S if quiet else _LOOK_EVERY_S)
            if self._log.data_version() != version or self._log.clock_ms() >= self._renew_at_ms:
                return True
        return False

    def _take(self, max_records: int) -> list[Record]:
        taken: list[Record] = []
        for at, offset in list(self._next.items()):
            if at in self._paused or len(taken) == max_records:
                continue
            records = self._log.read(at, offset, max_records - len(taken))
            if records:
                # Moves to the end of the dict, so that each partition has its turn.
                del self._next[at]
                self._next[at] = records[-1].offset + 1
                taken += records
        return taken

    # -- membership ---------------------------------------------------------------------

    def check_current(self) -> None:
        """Refuse what a former member commits.

        Raises
        ------
        FencedError
            Another process has this instance's place.
        RebalancedError
            The group has another generation by now.
        """
        incarnation, generation = self._state()
        if incarnation is not None and incarnation != self._incarnation:
            raise FencedError(
                f"group {self.group!r}: another process has the place of {self._member!r}."
                " Fix: stop this one"
            )
        if incarnation is None or generation != self._generation:
            raise RebalancedError(
                f"group {self.group!r} is at generation {generation}, this member at"
                f" {self._generation}. Fix: poll, and go on from what is assigned then"
            )

    def _state(self) -> tuple[str | None, int]:
        row: tuple[str | None, int] = self._log.db.execute(
            "SELECT incarnation, generation FROM groups"
            " LEFT JOIN members ON members.grp = groups.grp AND member = ? WHERE groups.grp = ?",
            (self._member, self.group),
        ).fetchone()
        return row

    def _join(self) -> None:
        db = self._log.db
        with write_transaction(db):
            db.execute("INSERT OR IGNORE INTO groups VALUES (?, 0)", (self.group,))
            known = self._state()[0] is not None
            db.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)",
                (self.group, self._member, self._incarnation, self._lease()),
            )
            if not known:
                self._raise_generation()

    def _keep_place(self) -> None:
        if self._log.clock_ms() >= self._renew_at_ms:
            self._renew()
        incarnation, generation = self._state()
        if incarnation is None:
            self._join()
            generation = self._state()[1]
        elif incarnation != self._incarnation:
            self.check_current()
        if generation != self._generation:
            self._rebalance()

    def _lease(self) -> int:
        """The end of a lease taken now; renewed when a third of it is over."""
        now = self._log.clock_ms()
        self._renew_at_ms = now + self._log.lease_ms // 3
        return now + self._log.lease_ms

    def _renew(self) -> None:
        with write_transaction(self._log.db):
            self._log.db.execute(
                "UPDATE members SET lease_ms = ? WHERE grp = ? AND member = ? AND incarnation = ?",
                (self._lease(), self.group, self._member, self._incarnation),
            )
            lapsed = self._log.db.execute(
                "DELETE FROM members WHERE grp = ? AND lease_ms < ?",
                (self.group, self._log.clock_ms()),
            )
            if lapsed.rowcount:
                self._raise_generation()

    def _raise_generation(self) -> None:
        self._log.db.execute(
            "UPDATE groups SET generation = generation + 1 WHERE grp = ?", (self.group,)
        )

    def _rebalance(self) -> None:
        """Take the share of the current generation, and say so."""
        with write_transaction(self._log.db):  # members and generation of one moment
            generation = self._state()[1]
            members = self._log.db.execute(
                "SELECT member FROM members WHERE grp = ?", (self.group,)
            ).fetchall()
        shares = assign_ranges([name for (name,) in members], self._topics)
        if self._next:
            self._on_revoked(self.assignment())
        self._generation = generation
        self._paused.clear()
        self._next = {at: self._start(at) for at in sorted(shares.get(self._member, ()))}
        self._on_assigned(self.assignment())

    def _start(self, at: TopicPartition) -> int:
        committed = self._log.committed(self.group, at)
        if committed is not None:
            return committed.offset
        return self._log.start_offsets(at.topic)[at.partition]
