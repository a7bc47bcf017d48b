"""A version's record as the tags of an MLflow model version, and back.

Few tags, for each is a call to a server: ``record`` holds everything as JSON; the others are for
people to read, and for MLflow's search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from monitoring.registry.versions import Version

__all__ = ["RECORD", "description", "tags_of", "version_of"]

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
        "calibration": _said(version.figures.get("calibration_ratio")),
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
    rows = [f"| {name} | {_said(version.figures.get(key))} |" for name, key in named]
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


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.5f}"
