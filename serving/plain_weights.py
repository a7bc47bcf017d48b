"""Stand-in for serving.weights, until that is here: opens the live file once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from features.errors import SnapshotError
from features.spec import Spec
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.live import LiveReader, open_live

__all__ = ["PlainWeights"]


@dataclass
class _Weighing:
    reader: LiveReader
    identity: str
    problem: str | None = None

    @property
    def learner(self) -> ClickLearner:
        return self.reader.learner

    @property
    def events(self) -> int:
        return self.reader.events

    @property
    def version(self) -> str:
        return f"live-{self.identity}-{self.events}"

    def age_ms(self, now_ms: float) -> float | None:
        return now_ms - self.reader.updated_ms


class PlainWeights:
    """Live weights of one file."""

    def __init__(self, path: Path, spec: Spec) -> None:
        self.path, self.spec = path, spec
        self._weighing: _Weighing | None = None

    def current(self) -> _Weighing | None:
        """The weights, if there are any."""
        if self._weighing is None or self._weighing.reader.superseded:
            try:
                reader = open_live(self.path, self.spec)
            except SnapshotError:
                return self._weighing
            self._weighing = _Weighing(reader, spec_identity(self.spec)[:8])
        self._weighing.reader.refresh()
        return self._weighing
