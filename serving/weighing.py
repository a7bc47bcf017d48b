"""What a source of weights gives, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from learning.click_learner import ClickLearner

__all__ = ["FixedWeighing", "Weighing", "WeightsSource"]


class Weighing(Protocol):
    """The weights at one moment."""

    @property
    def learner(self) -> ClickLearner:
        """Predicts; learns nothing."""

    @property
    def version(self) -> str:
        """Names these weights."""

    @property
    def events(self) -> int:
        """Events learned."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones."""

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned; ``None``: not known."""


class WeightsSource(Protocol):
    """Where weights come from."""

    def current(self) -> Weighing | None:
        """The newest; ``None`` before the first ones. Cheap: asked at every request."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones, for people; ``None``: there are."""

    def close(self) -> None:
        """Let go of threads and files."""


@dataclass(slots=True)
class FixedWeighing:
    """Weights that stay as they are, or that another thread moves on; see :class:`Weighing`."""

    learner: ClickLearner
    version: str
    events: int
    updated_ms: float | None = None
    problem: str | None = None

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned."""
        return None if self.updated_ms is None else now_ms - self.updated_ms
