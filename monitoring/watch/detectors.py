"""What the monitor asks of detectors: batches in, alarms out, and a state that is plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from monitoring.watch.scored import Scored

__all__ = ["Detectors", "NoDetectors"]


class Detectors(Protocol):
    """Watches a stream of predictions; deterministic: the same batches give the same alarms.

    Where the stream is cut into batches may change nothing but when an alarm is said.
    """

    def update(self, scored: Scored) -> Sequence[msgspec.Struct]:
        """Alarms raised or closed by these rows, oldest first; each can be encoded as JSON."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a restart needs: JSON values and numpy arrays, in dicts and lists."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        ...


class NoDetectors:
    """Raises no alarm.

    Examples
    --------
    >>> NoDetectors().state()
    {}
    """

    def update(self, scored: Scored) -> Sequence[msgspec.Struct]:
        """Nothing."""
        return ()

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up."""
