"""What the joiner keeps of an impression and of a click.

Hundreds of thousands of them live at a time and none is part of a cycle, so they are kept out of
Python's garbage collector, which would walk over all of them again and again.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["KeptClick", "KeptImpression"]


class KeptImpression(msgspec.Struct, eq=False, gc=False):
    """An impression, from its arrival until nothing more can come of it.

    ``arrival`` is the topic's time just before it: its watermark at arrival, plus the bound.
    """

    id: str
    ts: int
    offset: int
    arrival: int
    raw: bytes
    click_ts: int | None = None
    dismiss_ts: int | None = None
    kinds: tuple[str, ...] = ()
    emitted: bool = False


class KeptClick(msgspec.Struct, eq=False, gc=False):
    """A click, from its arrival until nothing can depend on it.

    It ``waits`` for its impression. ``until`` is its event time or that of its last duplicate: a
    replay must meet the click if it meets the duplicate.
    """

    id: str
    kind: Literal["click", "dismiss"]
    ts: int
    offset: int
    arrival: int
    raw: bytes
    until: int
    waits: bool = True
