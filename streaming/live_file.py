"""The trainer's live file, and what it does when somebody spoils it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from features.errors import SnapshotError
from learning.click_learner import ClickLearner
from learning.live import LiveWriter, create_live, open_live, renew_live

__all__ = ["LiveFile", "LostLiveError"]

_LOOK_MS = 1000
"""How often it is seen whether the file is still there and whole."""


class LostLiveError(SnapshotError):
    """The live file was truncated: what was learned since the last snapshot is gone with it."""


class LiveFile:
    """Where readers find the weights as they are learned.

    Parameters
    ----------
    path
        Of the file.
    learner
        Learns into it from here on.
    now_ms
        Wall-clock time.
    report
        Takes lines for people.
    """

    def __init__(
        self, path: Path, learner: ClickLearner, now_ms: int, report: Callable[[str], None]
    ) -> None:
        self.path, self._report = path, report
        self._look_at = 0
        self._opened(create_live(path, learner, now_ms))

    def update(
        self, events: int, event_time: int, offsets: Sequence[int], now_ms: int, *, new: bool
    ) -> None:
        """Say how far the weights are.

        Raises
        ------
        LostLiveError
            The file was truncated.
        """
        if now_ms >= self._look_at:
            self._look_at = now_ms + _LOOK_MS
            self._look(now_ms)
        self._writer.update(events, event_time, offsets, now_ms, new=new)

    def _opened(self, writer: LiveWriter) -> None:
        self._writer = writer
        about = self.path.stat()
        self._is, self._size = (about.st_dev, about.st_ino), about.st_size

    def _look(self, now_ms: int) -> None:
        """Make the file anew if it was deleted, or replaced by what nobody can serve."""
        try:
            about = self.path.stat()
        except OSError:
            self._renew(now_ms, "deleted")
            return
        if (about.st_dev, about.st_ino) != self._is:
            if not self._is_another():
                self._renew(now_ms, "replaced by something else")
        elif about.st_size < self._size:
            raise LostLiveError(
                f"{self.path}: it was truncated, and what was learned since the last snapshot with "
                "it. Fix: start the trainer again, which learns that again; `clicktide up` does so"
            )

    def _is_another(self) -> bool:
        """Whether another trainer's weights of this spec stand there: they are left alone."""
        try:
            open_live(self.path, self._writer.learner.spec)
        except SnapshotError:
            return False
        return True

    def _renew(self, now_ms: int, what: str) -> None:
        try:
            self.path.unlink(missing_ok=True)
            self._opened(renew_live(self._writer, now_ms))
        except (SnapshotError, OSError) as error:
            self._report(f"train: {error}")
            return
        self._report(f"train: {self.path} was {what}; made anew")
