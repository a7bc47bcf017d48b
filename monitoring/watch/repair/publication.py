"""Repairs on their way to serving: the newest table in a topic, again and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from monitoring.watch.repair.table import REPAIRS, RepairTable
from streaming.log import EventLog, FencedError, LogError, NewRecord, Producer, TopicSettings

__all__ = ["RepairPublication"]

_EVERY_S = 1.0
_AGAIN_S = 60.0
_RETENTION_MS = 7 * 86_400_000
_RECORDS = 10_000


class RepairPublication:
    """Appends each new table, and the same one every minute: a monitor that is silent is gone.

    Nothing here needs to be exactly once: the newest record says everything.

    Parameters
    ----------
    log
        Where the topic is made.
    report
        Takes lines for people.
    """

    def __init__(self, log: EventLog, report: Callable[[str], None]) -> None:
        self.log, self.report = log, report
        self._producer: Producer | None = None
        self._told: str | None = None
        self._names: list[str] = []
        self._at = -_AGAIN_S
        log.create_topics([TopicSettings(REPAIRS, 1, _RETENTION_MS, _RECORDS)])

    def send(self, table: RepairTable, now_s: float) -> None:
        """Publish a table if it is new or it is time; the log may fail, later is soon enough."""
        waited = now_s - self._at
        if waited < (_EVERY_S if table.id != self._told else _AGAIN_S):
            return
        self._at = now_s
        try:
            if self._producer is None:
                self._producer = self.log.producer("repairs-0")
            with self._producer.transaction() as tx:
                tx.append(REPAIRS, [NewRecord(None, msgspec.json.encode(table), 0)])
        except FencedError:
            self.close()  # another monitor publishes; this one is stopped when it sends an alarm
        except LogError as error:
            self.report(f"monitor: the log takes no repairs now, again later: {error}")
            self.close()
        else:
            self._told, names = table.id, [repair.name for repair in table.repairs]
            if names != self._names:  # factors move all the time
                self.report(f"monitor: {_line(table)}")
            self._names = names

    def close(self) -> None:
        """Let go."""
        if self._producer is not None:
            with suppress(LogError):
                self._producer.close()
        self._producer = None


def _line(table: RepairTable) -> str:
    """Say a table in one line.

    Examples
    --------
    >>> _line(RepairTable(0))
    'REPAIR: nothing'
    """
    return "REPAIR: " + (", ".join(f"{r.name} x{r.factor:g}" for r in table.repairs) or "nothing")
