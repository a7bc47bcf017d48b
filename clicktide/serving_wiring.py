"""What the processes of ``clicktide serve`` are told when they start."""

from __future__ import annotations

import msgspec

from serving.settings import ServeSettings

__all__ = ["WIRING", "Wiring"]

WIRING = "CLICKTIDE_SERVE_WIRING"
"""Environment variable by which a worker learns what it works with: JSON, nothing that runs."""


class Wiring(msgspec.Struct, kw_only=True):
    """What a worker is started with."""

    log: str
    spec: str
    live: str | None
    model: str | None
    redis: str | None
    settings: ServeSettings
