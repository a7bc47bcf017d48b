"""The stream as it runs, for the dashboard: looked at once a second for all who watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

__all__ = ["Looker", "StreamFeed", "Watching"]

_EVERY_S, _LINGER_S, _WAIT_S = 1.0, 5.0, 15.0


@dataclass(frozen=True)
class Watching:
    """Where a serving process finds what dashboard and reports show.

    Parameters
    ----------
    looker
        Makes what looks at the stream; called in the thread that then uses it.
    monitor
        Folder of the monitor.
    reports
        Folder of saved reports.
    stream
        Name of the stream, for titles.
    """

    looker: Callable[[], Looker]
    monitor: Path
    reports: Path
    stream: str = "the stream"


class Looker(Protocol):
    """Looks at a stream; used and closed by one thread."""

    def look(self) -> msgspec.Struct:
        """How it stands."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class StreamFeed:
    """Looks while anybody watches, in a thread of its own, once for all.

    Parameters
    ----------
    looker
        As in :class:`Watching`.
    every_s
        Seconds between two looks.
    linger_s
        After the last watcher has gone it looks on for so long: they mostly come back.

    Attributes
    ----------
    watchers
        How many watch now.
    """

    most = 32
    """Watchers at most."""

    def __init__(
        self,
        looker: Callable[[], Looker],
        *,
        every_s: float = _EVERY_S,
        linger_s: float = _LINGER_S,
    ) -> None:
        self._make, self.every_s, self.linger_s = looker, every_s, linger_s
        self.watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._number, self._newest = 0, b""

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self.watchers >= self.most

    @property
    def looking(self) -> bool:
        """Whether the stream is being looked at."""
        return self._task is not None and not self._task.done()

    async def watch(self, seconds: float) -> AsyncGenerator[bytes]:
        """Yield every new look as JSON, for so long; empty: there was none for a while."""
        loop = asyncio.get_running_loop()
        until, seen = loop.time() + seconds, 0
        self.watchers += 1
        try:
            if not self.looking:
                self._number = 0
                self._task = asyncio.create_task(self._look_on())
            while (left := until - loop.time()) > 0:
                news = await self._next(seen, min(left, _WAIT_S))
                seen = self._number
                yield news
        finally:
            self.watchers -= 1

    async def once(self) -> bytes:
        """One look as JSON, shared with those who watch."""
        async with contextlib.aclosing(self.watch(_WAIT_S)) as looks:
            return await anext(looks, b"")

    async def _next(self, seen: int, wait_s: float) -> bytes:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._news:
                await self._news.wait_for(lambda: self._number != seen)
                return self._newest
        return b""

    async def _look_on(self) -> None:
        """Look until nobody has watched for a while."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="look") as thread:
            eye = _Eye(self._make)
            try:
                needed = loop.time()
                while self.watchers or loop.time() - needed < self.linger_s:
                    news = await loop.run_in_executor(thread, eye.look)
                    async with self._news:
                        self._newest, self._number = news, self._number + 1
                        self._news.notify_all()
                    await asyncio.sleep(self.every_s)
                    needed = loop.time() if self.watchers else needed
            finally:
                thread.submit(eye.close)


class _Eye:
    """A looker that is made anew after it failed, and whose failure is news too."""

    def __init__(self, make: Callable[[], Looker]) -> None:
        self._make = make
        self._looker: Looker | None = None

    def look(self) -> bytes:
        try:
            if self._looker is None:
                self._looker = self._make()
            return msgspec.json.encode(self._looker.look())
        except Exception as error:  # whatever it is, those who watch must see it
            self.close()
            return msgspec.json.encode(_problem(error))

    def close(self) -> None:
        if self._looker is not None:
            with contextlib.suppress(Exception):
                self._looker.close()
            self._looker = None


def _problem(error: Exception) -> dict[str, Any]:
    return {"problem": str(error) or type(error).__name__}
