"""A version's record as the tags of an MLflow model version, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from monitoring.registry.versions import Version

__all__ = ["description", "tags_of", "version_of"]

_TEXTS = ("gate", "spec", "identity", "code")
_NUMBERS = ("events", "event_time", "champion_at_ms")
_JSON = ("offsets", "reasons", "figures", "judged")


def tags_of(version: Version) -> dict[str, str]:
    """The tags that keep a record.

    Examples
    --------
    >>> tags_of(Version(number=1, created_ms=0, offsets=(7,), spec="sim"))["offsets"]
    '[7]'
    """
    tags = {name: str(getattr(version, name)) for name in (*_TEXTS, *_NUMBERS)}
    return tags | {name: json.dumps(_plain(getattr(version, name))) for name in _JSON}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)


def version_of(found: Any, aliases: Mapping[str, int]) -> Version:
    """The record of an MLflow ``ModelVersion``; tags that are absent or odd are left out."""
    tags = found.tags or {}
    number = int(found.version)
    read: dict[str, Any] = {name: tags[name] for name in _TEXTS if name in tags}
    read |= {name: _number(tags.get(name)) for name in _NUMBERS}
    read |= {name: _json(tags.get(name)) for name in ("figures", "judged")}
    return Version(
        number=number,
        created_ms=int(found.creation_timestamp or 0),
        source=found.source or "",
        aliases=tuple(sorted(name for name, at in aliases.items() if at == number)),
        offsets=tuple(_json(tags.get("offsets"), list)),
        reasons=tuple(map(str, _json(tags.get("reasons"), list))),
        **read,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdigit() else 0


def _json(text: str | None, kind: type[Any] = dict) -> Any:
    try:
        value = json.loads(text or "null")
    except ValueError:
        value = None
    return value if isinstance(value, kind) else kind()


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
