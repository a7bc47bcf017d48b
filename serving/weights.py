"""Where serving's weights come from.

* :class:`~serving.live_weights.LiveWeights`: the trainer's mapped file, on its host.
* :class:`~serving.weights_replica.ReplicaWeights`: the ``weights`` topic, on other hosts.
* :class:`PinnedWeights`: a snapshot folder, such as a registered model version.
* :class:`PolicyWeights`: what the model registry says, else one of the former.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from features.spec import Spec
from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot
from monitoring.registry.follow import ChampionSource, FixedWeights

__all__ = ["CurrentWeights", "FixedWeights", "PinnedWeights", "PolicyWeights", "WeightsSource"]


class CurrentWeights(Protocol):
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

    def current(self) -> CurrentWeights | None:
        """The newest; ``None`` before the first ones. Cheap: asked at every request."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones, for people; ``None``: there are."""

    def close(self) -> None:
        """Let go of threads and files."""


class PinnedWeights:
    """A snapshot, loaded once; called what it says (``version`` in its extra), or as its folder.

    Parameters
    ----------
    folder
        Of the snapshot.
    spec
        Whose weights they must be.

    Raises
    ------
    SnapshotError
        There is none, it is damaged, or of another spec.
    """

    problem: str | None = None

    def __init__(self, folder: str | os.PathLike[str], spec: Spec) -> None:
        snapshot = load_snapshot(folder, spec)
        version = snapshot.extra.get("version") or Path(folder).resolve().name
        events = snapshot.progress.overall.events
        self._current = FixedWeights(snapshot.learner, str(version), events)

    def current(self) -> CurrentWeights:
        """These weights."""
        return self._current

    def close(self) -> None:
        """Nothing is held."""


class PolicyWeights:
    """The registry's version while it names one, else the live weights.

    A prediction always comes: where the policy is ``champion`` and there is no champion yet, live
    weights are served.

    Parameters
    ----------
    champion
        Started; its policy decides whether a champion is served, or only what is pinned.
    live
        Served otherwise.

    Examples
    --------
    >>> class Live:
    ...     problem = None
    ...     def current(self):
    ...         return "live weights"
    ...     def close(self):
    ...         pass
    >>> PolicyWeights(ChampionSource(Path("/nowhere")), Live()).current()
    'live weights'
    """

    def __init__(self, champion: ChampionSource, live: WeightsSource) -> None:
        self.champion, self.live = champion, live

    def current(self) -> CurrentWeights | None:
        """What to serve now."""
        return self.champion.current() or self.live.current()

    @property
    def problem(self) -> str | None:
        """Why what is served is not what was asked for."""
        return self.champion.problem or self.live.problem

    def close(self) -> None:
        """Let go of threads and files."""
        self.champion.close()
        self.live.close()
