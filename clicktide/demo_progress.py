"""How far the demo is, on one line of a terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape

from clicktide.run_summary import number
from streaming.status import Look

__all__ = ["DemoProgress"]

_EVERY_S = 10.0


class DemoProgress:
    """How far the demo is, on one line of a terminal; elsewhere a line now and then.

    Parameters
    ----------
    console
        Where to show it.
    total
        Impressions of the whole demo.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._status = console, total, console.status("")
        self._stage, self._begun, self._done, self._done_before = "", time.monotonic(), 0, 0
        self._shown_at = -_EVERY_S
        self._look: Look | None = None

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage, self._begun, self._done_before = name, time.monotonic(), self._done
        self._shown_at = -_EVERY_S
        self.update()

    def update(self, done: int | None = None, look: Look | None = None) -> None:
        """Take what is new: impressions published so far, and how the stream stands."""
        self._done = self._done if done is None else done
        self._look = look or self._look
        if self._console.is_terminal:
            self._status.update(escape(self.text()[: self._console.width - 4]))
        elif time.monotonic() - self._shown_at >= _EVERY_S:
            self._shown_at = time.monotonic()
            self._console.print(self.text(), markup=False, highlight=False, soft_wrap=True)

    def text(self) -> str:
        """The line."""
        parts = [self._stage]
        if self._done:
            seconds = time.monotonic() - self._begun
            parts.append(f"{self._done:,} of {self._total:,}")
            if self._done > self._done_before and seconds > 1:
                parts.append(f"{(self._done - self._done_before) / seconds:,.0f}/s")
        trainer = self._look.trainer if self._look else None
        if trainer is not None and trainer.log_loss is not None:
            parts.append(f"log loss {number(trainer.log_loss)}")
            parts.append(f"calibration {number(trainer.calibration, 3)}")
        return "  ".join(parts)

    def __enter__(self) -> DemoProgress:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._status.stop()
