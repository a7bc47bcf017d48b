"""What has moved between the beginning and the end of a log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitoring.report.model import Drift, Share
from monitoring.windows import kernels as k
from monitoring.windows.drift import field_drift, prediction_drift
from monitoring.windows.window import Window
from streaming.time_words import time_text

__all__ = ["between", "period_name"]

_SHARES = 6
_DAY_MS = 86_400_000


def between(periods: Sequence[Window], fields: Sequence[str]) -> list[Drift]:
    """Drift of each field and of the predictions, from the first third to the last.

    Parameters
    ----------
    periods
        Windows of a log, oldest first; with fewer than two there is nothing to compare.
    fields
        Their slice fields.
    """
    third = max(1, len(periods) // 3)
    before, after = periods[:third], periods[-third:]
    if len(periods) < 2:
        return []
    was, now = (
        np.sum([w.histogram[:, :2].sum(1) for w in part], axis=0) for part in (before, after)
    )
    found = [_named("predictions", prediction_drift(was, now), was.sum(), now.sum(), ())]
    for field in fields:
        one, two = _counts(before, field), _counts(after, field)
        drift = field_drift(one, two)
        found.append(_named(field, drift, sum(one.values()), sum(two.values()), _shares(one, two)))
    return [drift for drift in found if drift is not None]


def _named(
    name: str, drift: object, before: float, after: float, shares: tuple[Share, ...]
) -> Drift | None:
    if drift is None:
        return None
    psi, js = getattr(drift, "psi", None), getattr(drift, "jensen_shannon", None)
    return Drift(name, psi, js, int(before), int(after), shares)


def _counts(windows: Sequence[Window], field: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for window in windows:
        for value, slot in window.values[field].items():
            counts[value] = counts.get(value, 0.0) + float(window.slot_sums[slot, k.COUNT])
    return counts


def _shares(before: dict[str, float], after: dict[str, float]) -> tuple[Share, ...]:
    """Values whose share moved most."""
    n, m = sum(before.values()) or 1.0, sum(after.values()) or 1.0
    shares = [
        Share(value, before.get(value, 0.0) / n, after.get(value, 0.0) / m)
        for value in before.keys() | after.keys()
    ]
    shares.sort(key=lambda share: (-abs(share.after - share.before), share.value))
    return tuple(share for share in shares[:_SHARES] if share.before or share.after)


def period_name(window: Window, axis: str) -> str:
    """Name of a row of the slice grid.

    Examples
    --------
    >>> period_name(Window(0, 3_600_000, (), 1), "time"), period_name(Window(0, 500, (), 1), "row")
    ('1 Jan 00:00', 'from row 1')
    """
    if axis == "row":
        return f"from row {window.start_ms + 1:,}"
    long = window.end_ms - window.start_ms >= _DAY_MS
    return time_text(window.start_ms, "{0.day} {0:%b %Y}" if long else "{0.day} {0:%b %H:%M}")
