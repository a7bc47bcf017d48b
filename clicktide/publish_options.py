"""The options of ``replay --to``, and what ``--speed`` and ``--shift`` mean."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from features.errors import ClicktideError

__all__ = [
    "ClickDelayOption",
    "IdPrefixOption",
    "NoEndOption",
    "ShiftOption",
    "SpeedOption",
    "ThroughOption",
    "ToOption",
    "parse_shift",
    "parse_speed",
]

_PANEL = "Publishing (--to)"
_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"(?P<ends>ends-)?now(-(?P<number>\d+(\.\d+)?)(?P<unit>[smhd]))?")
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="LOG",
        help="Learn nothing; publish the rows as impressions and clicks into this event log: "
        "run/log.db or kafka://host:port (its stream's settings are read from --dir, or from the "
        "folder that it is in)",
        rich_help_panel=_PANEL,
    ),
]
SpeedOption = Annotated[
    str | None,
    typer.Option(
        "--speed",
        metavar="X|max",
        help="Event time to wall time: 1 as it happened, 60 a minute in a second [default: max]",
        rich_help_panel=_PANEL,
    ),
]
ShiftOption = Annotated[
    str | None,
    typer.Option(
        "--shift",
        metavar="[ends-]now[-15h]|MS",
        help="Move event times so that the stream begins (or ends, read twice) now, or so long ago "
        "(s, m, h, d), or by so many ms; the fields stay as the log has them",
        rich_help_panel=_PANEL,
    ),
]
IdPrefixOption = Annotated[
    str | None,
    typer.Option(
        "--id-prefix",
        metavar="NAME",
        help="Put before every id: publishes a source once more, as other impressions",
        rich_help_panel=_PANEL,
    ),
]
ClickDelayOption = Annotated[
    float | None,
    typer.Option(
        "--click-delay-s",
        min=0.0,
        help="Mean time to the click, where the log does not say [default: 20]",
        rich_help_panel=_PANEL,
    ),
]
ThroughOption = Annotated[
    str | None,
    typer.Option(
        "--through",
        metavar="URL",
        help="Ask this API (clicktide serve) for every impression's probability, and publish "
        "what it served: http://127.0.0.1:8000. Without --speed, as fast as the stream can follow",
        rich_help_panel=_PANEL,
    ),
]
NoEndOption = Annotated[
    bool,
    typer.Option(
        "--no-end",
        help="Send no closing heartbeats: more will follow (examples whose windows are open wait)",
        rich_help_panel=_PANEL,
    ),
]


def parse_speed(text: str | None) -> float | None:
    """Read ``--speed``; None: as fast as possible.

    Examples
    --------
    >>> parse_speed("60"), parse_speed("max")
    (60.0, None)
    """
    if text is None or text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ClicktideError(
            f"--speed {text}: neither a speed nor max. Fix: 1 is as it happened, 60 a minute in "
            "a second, max as fast as possible"
        )
    return speed


def parse_shift(text: str | None) -> tuple[int | None, int, bool]:
    """Read ``--shift`` as ms to add; None: so that the stream begins, or ends, so many ms ago.

    Examples
    --------
    >>> parse_shift("-3600000"), parse_shift(None), parse_shift("now-15h")
    ((-3600000, 0, False), (0, 0, False), (None, 54000000, False))
    >>> parse_shift("ends-now")
    (None, 0, True)
    """
    ago = _AGO.fullmatch(text or "")
    if ago is not None:
        number, unit = ago["number"], ago["unit"]
        return None, int(float(number) * _MS[unit]) if number else 0, bool(ago["ends"])
    try:
        return int(text or 0), 0, False
    except ValueError:
        raise ClicktideError(
            f"--shift {text}: neither now, nor now-15h, nor ends-now, nor whole ms. Fix: ends-now; "
            "a time ago such as now-30m, now-15h or now-2d; or such as 86400000 for a day later"
        ) from None
