"""Challengers beside the champion: their normalised entropy against its, period by period.

A challenger counts a click when its example is joined; the monitor also counts late ones. So not
the log losses are compared, but each over the entropy of its own click rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from monitoring.challenge import ChallengeWindow, read_windows
from monitoring.report.model import Grid, GridCell, GridColumn, GridRow, Version
from monitoring.report.slices import Sums
from monitoring.windows import figures_of
from monitoring.windows import kernels as k

__all__ = ["Challengers", "challenger_grid", "challenger_rows", "read_challengers"]

_SHARED = 0.9
_DIFFERENCE = 0.01

Challengers = Mapping[str, Sequence[ChallengeWindow]]


def read_challengers(folder: Path) -> dict[str, list[ChallengeWindow]]:
    """Windows by challenger, from ``RUN/challengers``."""
    found = {}
    for path in sorted(folder.glob("*/windows.jsonl")):
        try:
            found[path.parent.name] = list(read_windows(path))
        except OSError:  # removed meanwhile
            continue
    return {name: windows for name, windows in found.items() if windows}


def challenger_grid(
    champion: Sequence[tuple[str, int, int, Sums]], challengers: Challengers
) -> Grid | None:
    """Relative change of the normalised entropy against the champion's, by period.

    Parameters
    ----------
    champion
        Name, start, end and sums of each period of the served predictions.
    challengers
        Windows by name.

    Returns
    -------
    Grid or None
        Nothing without challengers. A cell is there where both have scored about the same
        impressions.
    """
    if not challengers or not champion:
        return None
    columns = tuple(GridColumn("period", name, int(sums[k.COUNT])) for name, _, _, sums in champion)
    rows = [GridRow("served", tuple(_served(sums) for *_, sums in champion))]
    for name, windows in challengers.items():
        cells = tuple(_cell(windows, start, end, sums) for _, start, end, sums in champion)
        rows.append(GridRow(name, cells, "in shadow"))
    return Grid("versions", "change", columns, tuple(rows))


def challenger_rows(challengers: Challengers) -> list[Version]:
    """Rows of the version table."""
    return [_row(name, windows) for name, windows in challengers.items()]


def _served(sums: Sums) -> GridCell:
    f = figures_of(sums)
    return GridCell(
        f.count, 0.0, f.calibration_ratio, f.calibration_low, f.calibration_high,
        f.normalised_entropy,
    )  # fmt: skip


def _cell(
    windows: Sequence[ChallengeWindow], start: int, end: int, champion: Sums
) -> GridCell | None:
    inside = [window for window in windows if start <= window.start_ms < end]
    events = sum(window.events for window in inside)
    count, clicks = float(champion[k.COUNT]), sum(window.clicks for window in inside)
    ne = _ne(sum(window.loss for window in inside), clicks, events)
    served = figures_of(champion).normalised_entropy
    if not count or not _SHARED <= events / count <= 1 / _SHARED or not ne or not served:
        return None
    ratio = sum(window.expected for window in inside) / clicks
    change = ne / served - 1.0
    return GridCell(events, change, ratio, normalised_entropy=ne, sure=abs(change) >= _DIFFERENCE)


def _row(name: str, windows: Sequence[ChallengeWindow]) -> Version:
    events = sum(window.events for window in windows)
    clicks = sum(window.clicks for window in windows)
    expected = sum(window.expected for window in windows)
    return Version(
        name,
        alias="challenger",
        count=events,
        ratio=expected / clicks if clicks else None,
        normalised_entropy=_ne(sum(window.loss for window in windows), clicks, events),
        note="in shadow; late clicks are not counted",
    )


def _ne(loss: float, clicks: float, events: int) -> float | None:
    sums = np.array([events, clicks, 0.0, 0.0, loss, 0.0, 0.0, 0.0])
    return figures_of(sums).normalised_entropy
