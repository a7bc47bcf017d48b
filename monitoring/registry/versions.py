"""Model versions: the record, its form in MLflow, and which are kept or gone back to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from features.errors import ClicktideError

__all__ = [
    "CHAMPION", "PREVIOUS", "RECORD", "SERVE", "NoVersionError", "RegistryError", "Version",
    "beyond_retention", "champion_of", "description", "rollback_target", "tags_of", "version_of",
]  # fmt: skip


class RegistryError(ClicktideError):
    """The registry does not answer, or refuses: try again later."""


class NoVersionError(RegistryError):
    """There is no such version, or not the file it should have."""


CHAMPION, PREVIOUS, SERVE = "champion", "previous", "serve"
"""Aliases: passed the gate last; the champion before it; what serving is pinned to, if it is."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version of the model.

    Parameters
    ----------
    number
        As the registry counts.
    created_ms
        When it was registered.
    source
        Where its files are.
    aliases
        Names that point at it.
    events
        Events it has learned.
    event_time
        Latest event time it has learned, ms.
    offsets
        Next offset of the topic it learns, by partition: it has learned all before.
    gate
        ``pending``, ``passed``, ``refused``, ``held`` or ``superseded``.
    reasons
        Why.
    champion_at_ms
        When it last became champion; 0: never.
    spec, identity, code
        Name and identity of its spec, and the version of the program.
    figures
        Progressive figures since the version before it.
    judged
        Figures of the gate: ``candidate`` and ``champion``.
    """

    number: int
    created_ms: int
    source: str = ""
    aliases: tuple[str, ...] = ()
    events: int = 0
    event_time: int = 0
    offsets: tuple[int, ...] = ()
    gate: str = "pending"
    reasons: tuple[str, ...] = ()
    champion_at_ms: int = 0
    spec: str = ""
    identity: str = ""
    code: str = ""
    figures: Mapping[str, Any] = {}
    judged: Mapping[str, Any] = {}


def champion_of(versions: Iterable[Version]) -> Version | None:
    """The version that is champion, if one is."""
    return next((version for version in versions if CHAMPION in version.aliases), None)


def beyond_retention(
    versions: Iterable[Version], keep_versions: int, keep_champions: int
) -> list[Version]:
    """Versions to delete: neither among the newest, nor with an alias, nor a recent champion.

    Examples
    --------
    >>> all = [Version(number=n, created_ms=n, champion_at_ms=n % 3) for n in range(1, 9)]
    >>> [v.number for v in beyond_retention(all, keep_versions=2, keep_champions=2)]
    [1, 2, 3, 4, 6]
    """
    newest_first = sorted(versions, key=lambda v: -v.number)
    former = [v for v in newest_first if v.champion_at_ms]
    former.sort(key=lambda v: (-v.champion_at_ms, -v.number))
    kept = {v.number for v in [*newest_first[:keep_versions], *former[:keep_champions]]}
    return [v for v in newest_first[::-1] if v.number not in kept and not v.aliases]


def rollback_target(versions: Sequence[Version], since_ms: int | None = None) -> Version | None:
    """Where to go back to from the champion.

    Parameters
    ----------
    versions
        All there are.
    since_ms
        Event time at which the trouble began: the newest version that passed the gate and had
        learned nothing from then on. ``None``: the champion before this one.

    Examples
    --------
    >>> good = [Version(number=n, created_ms=n, event_time=n * 10, champion_at_ms=n)
    ...         for n in (1, 2, 3)]
    >>> rollback_target(good, since_ms=15).number, rollback_target(good[:0]) is None
    (1, True)
    """
    champion = champion_of(versions)
    former = [v for v in versions if v.champion_at_ms and v is not champion]
    if since_ms is not None:
        former = [v for v in former if v.event_time < since_ms]
        return max(former, key=lambda v: (v.event_time, v.number), default=None)
    previous = [v for v in former if PREVIOUS in v.aliases]
    return max(previous or former, key=lambda v: (v.champion_at_ms, v.number), default=None)


RECORD = "record"
_MOST_REASONS = 1_500


def tags_of(version: Version) -> dict[str, str]:
    """The tags that keep a record.

    Examples
    --------
    >>> tags_of(Version(number=1, created_ms=0, events=7, gate="passed"))["gate"]
    'passed'
    """
    reasons = tuple(reason[: _MOST_REASONS // 4] for reason in version.reasons[:4])
    record = msgspec.structs.replace(version, aliases=(), source="", reasons=reasons)
    return {
        "gate": version.gate,
        "calibration": _decimals(version.figures.get("calibration_ratio")),
        "events": str(version.events),
        RECORD: msgspec.json.encode(record).decode(),
    }


def version_of(found: Any, aliases: Mapping[str, int]) -> Version:
    """The record of an MLflow ``ModelVersion``; of one without a record, what MLflow knows."""
    number = int(found.version)
    try:
        kept = msgspec.json.decode(str((found.tags or {}).get(RECORD)), type=Version)
    except msgspec.DecodeError:
        kept = Version(number=number, created_ms=0, gate="foreign")
    return msgspec.structs.replace(
        kept,
        number=number,
        created_ms=int(found.creation_timestamp or 0),
        source=found.source or "",
        aliases=tuple(sorted(name for name, at in aliases.items() if at == number)),
    )


def description(version: Version) -> str:
    """What MLflow's page of a version says, in Markdown."""
    named = (
        ("calibration ratio", "calibration_ratio"),
        ("normalised entropy", "normalised_entropy"),
        ("log loss", "log_loss"),
        ("AUC", "auc"),
        ("click rate", "base_rate"),
    )
    rows = [f"| {name} | {_decimals(version.figures.get(key))} |" for name, key in named]
    return "\n".join(
        [
            f"Spec `{version.spec}`, {version.events:,} events learned, "
            f"examples up to offset {', '.join(map(str, version.offsets))}.",
            "",
            "| progressive, since the version before | |",
            "|---|---|",
            *rows,
        ]
    )


def _decimals(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.5f}"
