"""What serving needs from elsewhere: weights and counter values. Real and fake ones fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learning.click_learner import ClickLearner

__all__ = ["Features", "Found", "Weighing", "Weights"]


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
        """Why there are no newer ones, if that is known."""

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned."""


class Weights(Protocol):
    """Where weights come from."""

    def current(self) -> Weighing | None:
        """The newest; ``None`` before the first ones. Cheap: asked at every request."""


class Found(Protocol):
    """Counter values of some events."""

    @property
    def values(self) -> NDArray[np.float64] | None:
        """float64 (events, values); NaN where missing. ``None``: there are none at all."""

    @property
    def age_ms(self) -> float | None:
        """Milliseconds since the store was read."""

    @property
    def fallbacks(self) -> Sequence[tuple[str, ...]]:
        """What each event lacked."""


class Features(Protocol):
    """Where counter values come from."""

    def fetch(self, events: Sequence[Mapping[str, Any]], at_ms: int) -> Found:
        """Values of all events, in one round trip."""
