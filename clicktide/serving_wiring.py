"""What the processes of ``clicktide serve`` are told when they start."""

from __future__ import annotations

from typing import Literal

import msgspec

from serving.settings import ServeSettings
from streaming.settings import StreamSettings

__all__ = ["Policy", "Wiring"]

Policy = Literal["live", "champion"]


class Wiring(msgspec.Struct, kw_only=True):
    """What a worker is started with; the options of ``clicktide serve`` by name."""

    log: str
    spec: str
    live: str = "run/live.weights"
    follow: bool = False
    model: str | None = None
    backup: str | None = None
    served: str | None = None
    run: str | None = None
    policy: Policy = "live"
    redis: str | None = None
    settings: ServeSettings = ServeSettings()
    stream: StreamSettings = StreamSettings()
