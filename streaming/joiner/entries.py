"""What the joiner keeps of an impression and of a click."""

from __future__ import annotations

from typing import Literal

__all__ = ["KeptClick", "KeptImpression"]


class KeptImpression:
    """An impression, from its arrival until nothing more can come of it.

    ``arrival`` is the topic's time just before it: its watermark at arrival, plus the bound.
    """

    __slots__ = (
        "arrival",
        "click_ts",
        "dismiss_ts",
        "emitted",
        "id",
        "kinds",
        "offset",
        "raw",
        "ts",
    )

    def __init__(self, id: str, ts: int, offset: int, arrival: int, raw: bytes) -> None:
        self.id, self.ts, self.offset, self.arrival, self.raw = id, ts, offset, arrival, raw
        self.click_ts: int | None = None
        self.dismiss_ts: int | None = None
        self.kinds: tuple[str, ...] = ()
        self.emitted = False


class KeptClick:
    """A click, from its arrival until nothing can depend on it.

    It ``waits`` for its impression. ``until`` is its event time or that of its last duplicate: a
    replay must meet the click if it meets the duplicate.
    """

    __slots__ = ("arrival", "id", "kind", "offset", "raw", "ts", "until", "waits")

    def __init__(
        self,
        id: str,
        kind: Literal["click", "dismiss"],
        ts: int,
        offset: int,
        arrival: int,
        raw: bytes,
    ) -> None:
        self.id, self.kind, self.ts, self.offset = id, kind, ts, offset
        self.arrival, self.raw = arrival, raw
        self.waits = True
        self.until = ts
