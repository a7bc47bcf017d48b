"""Which weights are served: the live ones, or those that the model registry says."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from monitoring.registry.follow import ChampionSource, Loaded

__all__ = ["PolicyWeights"]

W_co = TypeVar("W_co", covariant=True)


class _Source(Protocol[W_co]):
    """A source of weights, as far as it is needed here."""

    def current(self) -> W_co | None:
        """The newest; ``None`` before the first ones."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones."""

    def close(self) -> None:
        """Let go of threads and files."""


class PolicyWeights(Generic[W_co]):
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
    >>> from pathlib import Path
    >>> class Live:
    ...     problem = None
    ...     def current(self):
    ...         return "live weights"
    ...     def close(self):
    ...         pass
    >>> PolicyWeights(ChampionSource(Path("/nowhere")), Live()).current()
    'live weights'
    """

    def __init__(self, champion: ChampionSource, live: _Source[W_co]) -> None:
        self.champion, self.live = champion, live

    def current(self) -> Loaded | W_co | None:
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
