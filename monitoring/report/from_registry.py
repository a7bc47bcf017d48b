"""Model versions as the registry knows them, for a report."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.registry.versions import Version as Registered
from monitoring.report.model import Version, VersionChange

__all__ = ["changes_of", "versions_of"]

_MOST = 50


def versions_of(registered: Sequence[Registered]) -> list[Version]:
    """Rows of the version table, the newest first.

    Examples
    --------
    >>> [row] = versions_of([Registered(number=7, created_ms=5, gate="refused", reasons=("NE",))])
    >>> row.name, row.note
    ('v7', 'refused: NE')
    """
    newest = sorted(registered, key=lambda version: -version.number)[:_MOST]
    return [_row(version) for version in newest]


def changes_of(registered: Sequence[Registered]) -> list[VersionChange]:
    """When each champion began: at the newest event that it had learned."""
    champions = sorted(
        (version for version in registered if version.champion_at_ms and version.event_time),
        key=lambda version: version.champion_at_ms,
    )
    before = ["", *(f"v{version.number}" for version in champions)]
    return [
        VersionChange(version.event_time, f"v{version.number}", earlier)
        for version, earlier in zip(champions, before, strict=False)
    ]


def _row(version: Registered) -> Version:
    get = version.figures.get
    reasons = f": {'; '.join(version.reasons)}" if version.reasons else ""
    return Version(
        f"v{version.number}",
        created=version.created_ms,
        alias=", ".join(version.aliases),
        events=version.events,
        count=get("events"),
        ratio=get("calibration_ratio"),
        low=get("calibration_low"),
        high=get("calibration_high"),
        normalised_entropy=get("normalised_entropy"),
        note=f"{version.gate}{reasons}",
    )
