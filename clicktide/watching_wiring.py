"""What dashboard and reports of a serving process look at: the real log and folders."""

from __future__ import annotations

import time
from pathlib import Path

from features.errors import ClicktideError
from serving.dashboard_look import StreamLooker
from serving.watching import Looker, Watching
from streaming.log import open_log
from streaming.log.opening import SqliteSettings, log_settings

__all__ = ["watching_of"]


def watching_of(log: str, folder: Path | None = None) -> Watching:
    """Wire the real adapters together.

    Parameters
    ----------
    log
        URL of the event log; opened when somebody looks, never made.
    folder
        Where ``clicktide up`` runs; by default the folder of the log, or ``run``.
    """
    settings = log_settings(log, {})
    path = Path(settings.path) if isinstance(settings, SqliteSettings) else None
    root = folder or (path.parent if path is not None else Path("run"))
    monitor = root / "monitor"

    def looker() -> Looker:
        if path is not None and not path.is_file():
            raise ClicktideError(f"{path}: there is no event log yet. Fix: clicktide up makes it")
        return StreamLooker(open_log(log), monitor, lambda: time.time_ns() // 1_000_000)

    return Watching(looker, monitor, root / "reports", f"the stream in {root}")
