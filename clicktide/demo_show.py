"""How far the demo is: one line on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from clicktide.show import number
from streaming.status import Look

__all__ = ["DemoLine"]

_EVERY_S = 10.0


class DemoLine:
    """How far the demo is, on one line of a terminal; elsewhere a line now and then.

    Parameters
    ----------
    console
        Where to show it.
    total
        Impressions of the whole demo.
    clock
        Seconds that only rise.
    """

    def __init__(
        self, console: Console, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._total, self._clock = console, total, clock
        self._stage, self._begun, self._done, self._done_before = "", clock(), 0, 0
        self._shown_at = -_EVERY_S
        self._look: Look | None = None
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._render, console=console, transient=True, refresh_per_second=5
        )

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage, self._begun, self._done_before = name, self._clock(), self._done
        self._shown_at = -_EVERY_S
        self.update()

    def update(self, done: int | None = None, look: Look | None = None) -> None:
        """Take what is new: impressions published so far, and how the stream stands."""
        self._done = self._done if done is None else done
        self._look = look or self._look
        if not self._console.is_terminal and self._clock() - self._shown_at >= _EVERY_S:
            self._shown_at = self._clock()
            self._console.print(self.text(), markup=False, highlight=False, soft_wrap=True)

    def text(self) -> str:
        """The line."""
        parts = [self._stage]
        if self._done:
            seconds = self._clock() - self._begun
            parts.append(f"{self._done:,} of {self._total:,}")
            if self._done > self._done_before and seconds > 1:
                parts.append(f"{(self._done - self._done_before) / seconds:,.0f}/s")
        trainer = self._look.trainer if self._look else None
        if trainer is not None and trainer.log_loss is not None:
            parts.append(f"log loss {number(trainer.log_loss)}")
            parts.append(f"calibration {number(trainer.calibration, 3)}")
        return "  ".join(parts)

    def _render(self) -> Spinner:
        line = Text(self.text())
        line.truncate(self._console.width - 2, overflow="ellipsis")
        self._spinner.update(text=line)
        return self._spinner

    def __enter__(self) -> DemoLine:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
