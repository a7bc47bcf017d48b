"""Which slices are repaired just now: the newest table of the ``repairs`` topic, in a thread."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from monitoring.watch.repair.table import REPAIRS, RepairTable
from serving.log_follower import LogFollower
from streaming.log import EventLog, TopicPartition

__all__ = ["RepairSource"]

_AT = TopicPartition(REPAIRS, 0)
_SILENT_MS = 600_000


class RepairSource(LogFollower):
    """Follows the monitor's repairs. A monitor that is silent for ten minutes repairs nothing.

    Parameters
    ----------
    connect
        Opens the log; called in the thread, again after every failure.
    now_ms
        The wall clock.
    poll_s
        How often to look for news.
    """

    def __init__(
        self, connect: Callable[[], EventLog], now_ms: Callable[[], int], poll_s: float = 0.5
    ) -> None:
        super().__init__(connect, "repairs", poll_s)
        self._now_ms, self._poll_s = now_ms, poll_s
        self._newest: tuple[RepairTable, int] | None = None
        self.start()

    def current(self) -> RepairTable | None:
        """The newest table; ``None``: none, or it repairs nothing, or it is too old."""
        newest = self._newest
        if newest is None or not newest[0].repairs or self._now_ms() - newest[1] > _SILENT_MS:
            return None
        return newest[0]

    def follow(self, log: EventLog) -> None:
        """Take the newest table, again and again."""
        read_to = -1
        while not self.closed.wait(self._poll_s):
            if REPAIRS not in log.topics():
                continue
            end = log.end_offsets(REPAIRS)[0]
            if end == read_to:
                continue
            first = max(log.start_offsets(REPAIRS)[0], end - 8)  # some may be a log's own markers
            for record in log.read(_AT, first, 8):
                try:
                    table = msgspec.json.decode(record.value, type=RepairTable)
                except msgspec.DecodeError:
                    continue  # of another version of Clicktide
                self._newest = table, record.timestamp_ms
            self.problem, read_to = None, end
