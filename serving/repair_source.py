"""Which slices are repaired just now: the newest table of the ``repairs`` topic, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from features.errors import ClicktideError
from monitoring.watch.repair.table import REPAIRS, RepairTable
from streaming.log import EventLog, TopicPartition

__all__ = ["RepairSource"]

_AT = TopicPartition(REPAIRS, 0)
_SILENT_MS = 600_000


class RepairSource:
    """Follows the monitor's repairs. A monitor that is silent for ten minutes repairs nothing.

    Parameters
    ----------
    connect
        Opens the log; called in the thread, again after every failure.
    now_ms
        The wall clock.
    poll_s
        How often to look for news.

    Attributes
    ----------
    problem
        Why there are no newer ones; ``None``: there are, or nobody publishes any.
    """

    def __init__(
        self, connect: Callable[[], EventLog], now_ms: Callable[[], int], poll_s: float = 0.5
    ) -> None:
        self._connect, self._now_ms, self._poll_s = connect, now_ms, poll_s
        self.problem: str | None = None
        self._newest: tuple[RepairTable, int] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repairs", daemon=True)
        self._thread.start()

    def current(self) -> RepairTable | None:
        """The newest table; ``None``: none, or it repairs nothing, or it is too old."""
        newest = self._newest
        if newest is None or not newest[0].repairs or self._now_ms() - newest[1] > _SILENT_MS:
            return None
        return newest[0]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join(10.0)

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with self._connect() as log:
                    self._follow(log)
            except ClicktideError as error:
                self.problem = str(error)
            self._closed.wait(self._poll_s)

    def _follow(self, log: EventLog) -> None:
        read_to = -1
        while not self._closed.wait(self._poll_s):
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
